/* Pillow's bilinear resize, of just those pixels that a centre crop keeps.
 *
 * Pillow weighs its samples with a triangle as wide as an output pixel (never narrower than a sample), rounds the
 * weights to 22 fractional bits, sums in integers, and rounds each of its two passes to whole levels. The same is done
 * here, so the levels are the same; only what the crop does not keep is left out, and the sums are vectorised.
 * Nothing here knows Python: service/resample.py calls it with the interpreter lock released.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRACTION_BITS 22
#define HALF (1 << (FRACTION_BITS - 1))
#define BLOCK 64 /* bytes of a row that are summed at once: their sums stay in registers */

/* One body for every x86-64, and one for those with AVX2, chosen when the library is loaded; elsewhere, one. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define FASTEST __attribute__((target_clones("avx2", "default")))
#else
#define FASTEST
#endif

typedef int32_t sums __attribute__((vector_size(16)));
typedef uint8_t levels __attribute__((vector_size(16)));

/* One axis: `count` outputs from `first` on, of samples 0 to `length`; `base` is the first sample that is at hand. */
typedef struct {
    double origin, scale; /* where output 0 begins, and how many samples an output covers */
    int64_t length, base;
    int32_t first, count;
} axis;

/* The samples that one output depends on. */
typedef struct {
    int64_t start;
    int32_t taps;
} reach;

static int32_t most_taps(const axis *a) {
    double support = a->scale < 1 ? 1 : a->scale;
    return 2 * (int32_t)support + 3;
}

static reach weigh(const axis *a, int32_t output, double *exact, int32_t *weights) {
    double support = a->scale < 1 ? 1 : a->scale, sharpness = 1 / support;
    double centre = a->origin + (output + 0.5) * a->scale, total = 0;
    int64_t start = (int64_t)(centre - support + 0.5), stop = (int64_t)(centre + support + 0.5);
    if (start < 0) start = 0;
    if (stop > a->length) stop = a->length;
    int32_t taps = (int32_t)(stop - start);
    for (int32_t t = 0; t < taps; t++) {
        double distance = (t + start - centre + 0.5) * sharpness;
        if (distance < 0) distance = -distance;
        total += exact[t] = distance < 1 ? 1 - distance : 0;
    }
    for (int32_t t = 0; t < taps; t++) {
        double share = total != 0 ? exact[t] / total : exact[t];
        weights[t] = (int32_t)(share * (1 << FRACTION_BITS) + 0.5);
    }
    return (reach){start - a->base, taps};
}

/* Shuffles say what a conversion would, and compile to one instruction where GCC takes conversions apart. */
static inline sums load(const uint8_t *pixel) {
    uint32_t four;
    memcpy(&four, pixel, 4);
    levels packed = (levels)(sums){(int32_t)four};
    return (sums)__builtin_shuffle(packed, (levels){0, 15, 15, 15, 1, 15, 15, 15, 2, 15, 15, 15, 3, 15, 15, 15});
}

static inline void store(uint8_t *pixel, sums sum) {
    sum >>= FRACTION_BITS;
    sums over = sum > 255; /* by the rounding of very many weights */
    sum = (over & 255) | (~over & sum);
    levels packed = __builtin_shuffle((levels)sum, (levels){0, 4, 8, 12});
    memcpy(pixel, &packed, 3);
}

FASTEST static void row_along_x(
    const uint8_t *line, ptrdiff_t step, const reach *reaches, const int32_t *weights, int32_t stride, int32_t count,
    uint8_t *out
) {
    for (int32_t i = 0; i < count; i++, weights += stride, out += 3) {
        const uint8_t *pixel = line + reaches[i].start * step;
        sums sum = {HALF, HALF, HALF, HALF};
        for (int32_t t = 0; t < reaches[i].taps; t++, pixel += step) sum += load(pixel) * weights[t];
        store(out, sum);
    }
}

FASTEST static void row_along_y(
    const uint8_t *rows, size_t width, const int32_t *weights, int32_t taps, uint8_t *out
) {
    for (size_t from = 0; from < width; from += BLOCK) {
        size_t n = width - from < BLOCK ? width - from : BLOCK;
        const uint8_t *row = rows + from;
        int32_t sum[BLOCK];
        for (size_t i = 0; i < BLOCK; i++) sum[i] = HALF;
        for (int32_t t = 0; t < taps; t++, row += width) {
            int32_t weight = weights[t];
            if (n == BLOCK)
                for (size_t i = 0; i < BLOCK; i++) sum[i] += row[i] * weight;
            else
                for (size_t i = 0; i < n; i++) sum[i] += row[i] * weight;
        }
        for (size_t i = 0; i < n; i++) {
            int32_t level = sum[i] >> FRACTION_BITS;
            out[from + i] = level > 255 ? 255 : (uint8_t)level;
        }
    }
}

/* Resize `rows` rows of `width` RGB pixels along x into out, (rows, count, 3).
 *
 * Neighbours along x are `step` bytes apart, rows `line` bytes; either may be negative: a mirrored or turned picture is
 * read as it is stored. Returns 0, or -1 where there is no memory.
 */
int along_x(
    const uint8_t *pixels, ptrdiff_t step, ptrdiff_t line, int64_t width, int64_t rows, const axis *x, uint8_t *out
) {
    int32_t most = most_taps(x);
    reach *reaches = malloc(sizeof(reach) * x->count);
    int32_t *weights = malloc(sizeof(int32_t) * x->count * most);
    double *exact = malloc(sizeof(double) * most);
    uint8_t *copy = malloc(3 * width + 1);
    int result = reaches && weights && exact && copy ? 0 : -1;
    if (result == 0) {
        for (int32_t i = 0; i < x->count; i++) reaches[i] = weigh(x, x->first + i, exact, weights + (size_t)i * most);
        for (int64_t row = 0; row < rows; row++, pixels += line, out += 3 * (size_t)x->count) {
            /* A pixel is loaded with the byte after it. Only one has none: the last in memory, which lies in the first
             * row or in the last, whichever way the picture is turned. */
            if (row > 0 && row < rows - 1) {
                row_along_x(pixels, step, reaches, weights, most, x->count, out);
            } else {
                for (int64_t i = 0; i < width; i++) memcpy(copy + 3 * i, pixels + i * step, 3);
                row_along_x(copy, 3, reaches, weights, most, x->count, out);
            }
        }
    }
    free(copy);
    free(exact);
    free(weights);
    free(reaches);
    return result;
}

/* Resize rows of `width` bytes along y into out, (count, width). Returns 0, or -1 where there is no memory. */
static int along_y(const uint8_t *rows, int64_t width, const axis *y, uint8_t *out) {
    int32_t most = most_taps(y);
    int32_t *weights = malloc(sizeof(int32_t) * most);
    double *exact = malloc(sizeof(double) * most);
    int result = weights && exact ? 0 : -1;
    for (int32_t i = 0; result == 0 && i < y->count; i++, out += width) {
        reach r = weigh(y, y->first + i, exact, weights);
        row_along_y(rows + r.start * width, width, weights, r.taps, out);
    }
    free(exact);
    free(weights);
    return result;
}

/* Resize the last rows along x into `out`, and then all of `between`, which they complete, along y into `done`.
 *
 * In one call, since whoever gives the interpreter lock up has to wait for it again. Arguments and result as above.
 */
int along_x_and_y(
    const uint8_t *pixels, ptrdiff_t step, ptrdiff_t line, int64_t width, int64_t rows, const axis *x, uint8_t *out,
    const uint8_t *between, const axis *y, uint8_t *done
) {
    int result = along_x(pixels, step, line, width, rows, x, out);
    return result == 0 ? along_y(between, 3 * (int64_t)x->count, y, done) : result;
}
