/* Pillow's bilinear resize of many pictures at once, of just those pixels that a centre crop keeps: the arithmetic of
 * service/resample.c, step for step, so the levels are the same. Compiled at run time (service/card/resize.py), with
 * products and sums not contracted; tests compile it for the CPU.
 *
 *     weigh      a thread for each output column and row: which samples it depends on, and their weights
 *     along_x    a thread for each output column of each row that is needed
 *     along_y    a thread for each output pixel
 */
#define FRACTION_BITS 22
#define HALF (1 << (FRACTION_BITS - 1))
#define CHANNELS 3

typedef unsigned char level;
typedef long long word;

/* One axis: `count` outputs from `first` on, of samples 0 to `length`; `base` is the first sample that is needed. */
typedef struct {
    double origin, scale;
    word length, base;
    int first, count;
} axis;

/* One picture. `rows` has room for `height` rows of x.count pixels; `tables` for both axes' weights: of each output
 * its first sample from `base` on, how many, and a weight for each of up to `most`. */
typedef struct {
    const level *pixels;
    word line; /* bytes from one row of the picture to the next */
    level *rows, *out;
    int *tables;
    word height;
    axis x, y;
    int most_x, most_y;
} job;

#ifdef __CUDACC__
extern "C" {
#endif

__device__ static void weigh_output(const axis *a, int output, int *table) {
    double support = a->scale < 1 ? 1 : a->scale, sharpness = 1 / support;
    double centre = a->origin + (output + 0.5) * a->scale, total = 0;
    word start = (word)(centre - support + 0.5), stop = (word)(centre + support + 0.5);
    if (start < 0) start = 0;
    if (stop > a->length) stop = a->length;
    int taps = (int)(stop - start);
    for (int t = 0; t < taps; t++) {
        double distance = (t + start - centre + 0.5) * sharpness;
        if (distance < 0) distance = -distance;
        total += distance < 1 ? 1 - distance : 0;
    }
    table[0] = (int)(start - a->base);
    table[1] = taps;
    for (int t = 0; t < taps; t++) {
        double distance = (t + start - centre + 0.5) * sharpness;
        if (distance < 0) distance = -distance;
        double exact = distance < 1 ? 1 - distance : 0;
        double share = total != 0 ? exact / total : exact;
        table[2 + t] = (int)(share * (1 << FRACTION_BITS) + 0.5);
    }
}

__device__ static level rounded(int sum) {
    int found = sum >> FRACTION_BITS;
    return (level)(found > 255 ? 255 : found);
}

/* `reach` is a table of weigh_output; neighbouring samples are `step` bytes apart. */
__device__ static void sum_up(const level *samples, word step, const int *reach, level *out) {
    const level *sample = samples + reach[0] * step;
    int sums[CHANNELS] = {HALF, HALF, HALF};
    for (int t = 0; t < reach[1]; t++, sample += step)
        for (int c = 0; c < CHANNELS; c++) sums[c] += sample[c] * reach[2 + t];
    for (int c = 0; c < CHANNELS; c++) out[c] = rounded(sums[c]);
}

__global__ void weigh(const job *jobs) {
    const job *j = jobs + blockIdx.y;
    int output = blockIdx.x * blockDim.x + threadIdx.x;
    if (output < j->x.count)
        weigh_output(&j->x, j->x.first + output, j->tables + (word)output * (2 + j->most_x));
    output -= j->x.count;
    if (output >= 0 && output < j->y.count)
        weigh_output(
            &j->y, j->y.first + output, j->tables + (word)j->x.count * (2 + j->most_x) + (word)output * (2 + j->most_y)
        );
}

__global__ void along_x(const job *jobs) {
    const job *j = jobs + blockIdx.y;
    word at = (word)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= j->height * j->x.count) return;
    word row = at / j->x.count;
    int output = (int)(at % j->x.count);
    const level *line = j->pixels + (j->y.base + row) * j->line + j->x.base * CHANNELS;
    sum_up(line, CHANNELS, j->tables + (word)output * (2 + j->most_x), j->rows + at * CHANNELS);
}

__global__ void along_y(const job *jobs) {
    const job *j = jobs + blockIdx.y;
    word at = (word)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (word)j->y.count * j->x.count) return;
    int output = (int)(at / j->x.count), column = (int)(at % j->x.count);
    const int *tables = j->tables + (word)j->x.count * (2 + j->most_x);
    const level *top = j->rows + (word)column * CHANNELS;
    sum_up(top, (word)j->x.count * CHANNELS, tables + (word)output * (2 + j->most_y), j->out + at * CHANNELS);
}

#ifdef __CUDACC__
}
#endif
