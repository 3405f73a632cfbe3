"""Decoding on a card: `--decoder gpu`. A file goes there as it came, and its pixels never leave it.

    body ──sorting──▶ an ordinary JPEG: its bytes ──line──▶ batches ──decoder──▶ slots on the card ──▶ engine's input
             │                                                 │
             └──▶ anything else: pixels, by the CPU ◀── what the card could not decode, after all

sorting.py   which files are for the card
line.py      files of all callers -> batches; a backend in front of the batcher
decoder.py   one batch: decoded, resized, cropped, into slots of the card's memory
codec.py     files -> pictures, by nvImageCodec
resize.py    pictures -> pixels, by resize.cu: the arithmetic of service/resample.c
model.py     a model whose images are decoded so

An encoded file travels as its bytes, uint8 (n,), where pixels would, uint8 (H, W, 3): one is told from the other by the
number of its axes.
"""
