"""A day's load played against the autoscalers that deploy/ ships: what do they cost, and whom do they keep waiting?

day       ──▶ arrivals, images/s over 24 hours, with spikes
replicas  ──▶ each answers its share, at the measured cost of a batch
scalers   ──▶ Kubernetes' own algorithm, fed as the metrics server or Prometheus would, sets how many there are
play      ──▶ all three, tick by tick
"""
