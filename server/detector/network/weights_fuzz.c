/* weights_fuzz.c - any bytes as the weights of a few networks: taken, and then every parameter is a finite number, or
 * refused. The first byte says whose weights they are, and whether the rest is repeated up to the size that those have:
 * nearly all inputs would end at that check otherwise. */
#include "small_model.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER  20 /* of the newer kind */
#define MAX_RAW ((size_t)1 << 20)
#define FIT     0x80

/* Two convolutions, one of them with batch normalisation: few enough parameters to be changed one by one. */
static const char tiny_cfg[] = "[net]\nwidth=4\nheight=4\nchannels=3\n"
                               "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nactivation=leaky\n"
                               "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n"
                               "[yolo]\nmask=0\nanchors=4,5\nnum=1\nclasses=1\n";

static const struct cfg *cfg_at(size_t i)
{
    static const char *const texts[] = {tiny_cfg, small_cfg, small_cfg_yolo2, small_cfg_yolo4};
    static struct cfg *cfgs[COUNT_OF(texts)];

    i %= COUNT_OF(texts);
    if (!cfgs[i])
        cfgs[i] = small_cfg_parse_text(texts[i]);
    return cfgs[i];
}

static void check_network(const struct network *net)
{
    for (size_t i = 0; i < net->cfg->n_layers; i++) {
        const struct cfg_layer *l = &net->cfg->layers[i];
        if (l->kind != CFG_CONVOLUTION)
            continue;
        for (size_t k = 0; k < l->out.c * l->in.c / l->groups * l->size * l->size; k++)
            if (!isfinite(net->layers[i].weights[k]))
                abort();
        for (size_t k = 0; k < l->out.c; k++)
            if (!isfinite(net->layers[i].bias[k]))
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network *net;

    if (size < 2 || size > MAX_RAW)
        return 0;
    const struct cfg *c = cfg_at(*data);
    size_t given = size - 1, wanted = *data & FIT ? HEADER + sizeof(float) * c->n_params : given;
    uint8_t *file = xmalloc(wanted);
    for (size_t i = 0; i < wanted; i += given)
        memcpy(file + i, data + 1, given < wanted - i ? given : wanted - i);
    struct cfg *own = xmalloc(sizeof *own);
    *own = *c;
    if (network_new(&net, own, file, wanted).code)
        return 0;
    check_network(net);
    network_free(net);
    return 0;
}
