/* network.c - reads darknet's weights format: a header of three ints (major, minor, revision) and the number of
 * images seen (8 bytes since version 0.2, 4 before), then for each convolution in order: biases, and with batch
 * normalisation scales, means and variances, each (filters,); then the weights. Little-endian floats throughout. */
#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct status check_header(const uint8_t *file, size_t size, size_t n_params, size_t *header_size)
{
    int32_t version[3] = {0};

    if (size < sizeof version)
        return status_errorf(ST_INVALID, "the weights have only %zu bytes", size);
    memcpy(version, file, sizeof version);
    if (version[0] < 0 || version[0] > 9 || version[1] < 0 || version[1] > 9)
        return status_errorf(ST_INVALID, "the weights have an unknown header (version %d.%d)", version[0], version[1]);
    *header_size = version[0] * 10 + version[1] >= 2 ? 20 : 16;
    if (size != *header_size + sizeof(float) * n_params)
        return status_errorf(ST_INVALID, "the weights have %zu bytes, the cfg asks for %zu", size,
                             *header_size + sizeof(float) * n_params);
    return status_ok();
}

/* y = (w x - mean) / (sqrt(variance) + 1e-6) * scale + bias, as darknet computes it, becomes w' x + bias'. */
static struct status fold(float *weights, float *bias, size_t n_filters, size_t n_each, const float *norm)
{
    const float *scales = norm, *means = norm + n_filters, *variances = norm + 2 * n_filters;

    for (size_t f = 0; f < n_filters; f++) {
        if (variances[f] < 0)
            return status_errorf(ST_INVALID, "the weights hold a negative variance");
        float factor = (float)(scales[f] / (sqrt((double)variances[f]) + 1e-6));
        bias[f] -= means[f] * factor;
        for (size_t i = 0; i < n_each; i++)
            weights[f * n_each + i] *= factor;
    }
    return status_ok();
}

/* One convolution from its numbers in the file to its place in the block: weights, then bias. Moves both along. */
static struct status take_layer(struct network_layer *to, const struct cfg_layer *l, const float **from, float **block)
{
    size_t n = l->out.c, n_each = l->in.c / l->groups * l->size * l->size;
    const float *norm = *from + n, *in = l->batch_norm ? norm + 3 * n : norm;
    float *weights = *block, *bias = weights + n * n_each;

    memcpy(bias, *from, n * sizeof *bias);
    memcpy(weights, in, n * n_each * sizeof *weights);
    *to = (struct network_layer){weights, bias};
    *from += l->n_params;
    *block += n * n_each + n;
    return l->batch_norm ? fold(weights, bias, n, n_each, norm) : status_ok();
}

static bool all_finite(const float *values, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++)
        finite &= isfinite(values[i]) != 0;
    return finite;
}

static struct status take_layers(struct network *net, const float *params)
{
    const struct cfg *c = net->cfg;
    float *to = net->block = xaligned(c->n_params, sizeof *net->block);
    struct status st = status_ok();

    if (!all_finite(params, c->n_params))
        return status_errorf(ST_INVALID, "the weights hold numbers that are not finite");
    for (size_t i = 0; i < c->n_layers && !st.code; i++)
        if (c->layers[i].kind == CFG_CONVOLUTION)
            st = take_layer(&net->layers[i], &c->layers[i], &params, &to);
    if (!st.code && !all_finite(net->block, (size_t)(to - net->block)))
        st = status_errorf(ST_INVALID, "the weights overflow when batch normalisation is folded in");
    return st;
}

struct status network_new(struct network **out, struct cfg *cfg, uint8_t *file, size_t file_size)
{
    struct network *net = xcalloc(1, sizeof *net);
    size_t header_size = 0;

    net->cfg = cfg;
    net->file = file;
    net->file_size = file_size;
    struct status st = check_header(file, file_size, cfg->n_params, &header_size);
    if (!st.code)
        st = take_layers(net, (const float *)(const void *)(file + header_size));
    if (st.code)
        network_free(net);
    else
        *out = net;
    return st;
}

struct status network_set_ranges(struct network *net, struct ranges *ranges)
{
    if (ranges && ranges->n_layers != net->cfg->n_layers) {
        size_t n = ranges->n_layers;
        free(ranges);
        return status_errorf(ST_INVALID, "ranges of %zu layers, the cfg has %zu", n, net->cfg->n_layers);
    }
    free(net->ranges);
    net->ranges = ranges;
    return status_ok();
}

void network_drop_file(struct network *net)
{
    free(net->file);
    net->file = NULL;
}

void network_drop_parameters(struct network *net)
{
    free(net->block);
    net->block = NULL;
    memset(net->layers, 0, sizeof net->layers);
}

void network_free(struct network *net)
{
    if (!net)
        return;
    network_drop_file(net);
    free(net->block);
    free(net->ranges);
    free(net->cfg);
    free(net);
}
