/* What is asked of rows of values. Nothing here knows Python: service/rows.py calls it and keeps the interpreter lock. */
#include <stdint.h>

/* Write the indices of the `k` largest of `count` values, largest first and of equal ones the lower index first; return
 * how many they are, `k` or `count`. By insertion: a value that is not among the largest so far costs one comparison, and
 * of n in random order all but k (1 + ln(n / k)) are that.
 */
int64_t largest(const float *values, int64_t count, int64_t k, int64_t *indices) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        if (found == k && values[i] <= values[indices[k - 1]]) continue;
        int64_t at = found < k ? found++ : k - 1;
        for (; at > 0 && values[i] > values[indices[at - 1]]; at--) indices[at] = indices[at - 1];
        indices[at] = i;
    }
    return found;
}

/* Tell whether all of `count` float32, given as their bits, are finite: infinities and what is no number have an exponent
 * of ones (IEEE 754, 3.4).
 */
int all_finite(const uint32_t *bits, int64_t count) {
    const uint32_t exponent = 0x7f800000;
    uint32_t found = 0;
    for (int64_t i = 0; i < count; i++) found |= (bits[i] & exponent) == exponent;
    return !found;
}
