/* small_model.h - for the tests: a network of every supported kind of layer, small enough to be made on the spot, with
 * random parameters of usual sizes. Files go into a folder of their own. */
#ifndef DETECTOR_SMALL_MODEL_H
#define DETECTOR_SMALL_MODEL_H

#include "network.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_HEADS "anchors=4,5, 8,6, 10,14, 20,16, 24,30, 40,36\nnum=6\nclasses=2\n"

static const char small_cfg[] =
    "# a comment\n[net]\nbatch=64\nsubdivisions=8\nwidth=64\nheight=48\nchannels=3\nmomentum=0.9\npolicy=steps\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    "[dropout]\nprobability=.2\n"
    "[shortcut]\nfrom=-4\nactivation=linear\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=relu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\ngroups=2\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\ngroups=16\nsize=5\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    "[yolo]\nmask = 3,4,5\n" SMALL_HEADS "jitter=.3\nrandom=1\n"
    "[route]\nlayers = -3\n"
    "[convolutional]\nfilters=8\nsize=1\nstride=1\npad=1\nactivation=logistic\n"
    "[upsample]\nstride=2\n"
    "[route]\nlayers = -1, 5\n"
    "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    "[yolo]\nmask = 0,1,2\n" SMALL_HEADS;

/* The layers that only YOLO 2 has: reorg and region. */
static const char small_cfg_yolo2[] =
    "[net]\nwidth=48\nheight=32\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[route]\nlayers=-3\n"
    "[reorg]\nstride=2\n"
    "[route]\nlayers=-1,-3\n"
    "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    "[region]\nanchors=0.6,0.7, 1.8,2.0, 3.3,5.4\nnum=3\nclasses=2\ncoords=4\nsoftmax=1\nbias_match=1\njitter=.3\n"
    "thresh=.6\nrandom=1\n";

/* What YOLO 4 added to the tiny models: routes with groups, and boxes that reach over their cell. */
static const char small_cfg_yolo4[] =
    "[net]\nwidth=48\nheight=32\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[route]\nlayers=-1,-2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=1\nstride=1\npad=1\nactivation=leaky\n"
    "[route]\nlayers=-6,-1\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    "[yolo]\nmask=3,4,5\n" SMALL_HEADS "scale_x_y=1.05\ncls_normalizer=1.0\niou_normalizer=0.07\niou_loss=ciou\nnms_"
    "kind=greedynms\nbeta_nms=0.6\nresize=1.5\n";

static inline struct cfg *small_cfg_parse_text(const char *text)
{
    struct cfg *c;
    or_die(cfg_parse(&c, text, strlen(text)));
    return c;
}

static inline struct cfg *small_cfg_parse(void)
{
    return small_cfg_parse_text(small_cfg);
}

/* A weights file for c, from malloc; version: 1 (16-byte header) or 2 (20 bytes). */
static inline uint8_t *small_weights(const struct cfg *c, int version, size_t *size)
{
    size_t header = version >= 2 ? 20 : 16;
    uint8_t *file = xcalloc(1, header + sizeof(float) * c->n_params);
    float *to = (float *)(void *)(file + header);
    int32_t minor = version;
    struct rng rng;

    memcpy(file + 4, &minor, sizeof minor);
    rng_init(&rng, 7);
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct cfg_layer *l = &c->layers[i];
        size_t n = l->out.c, n_rest = l->n_params;
        for (size_t k = 0; l->batch_norm && k < 4 * n; k++, n_rest--) /* bias, scale, mean, variance */
            *to++ = (float)(k / n == 1 || k / n == 3 ? 0.5 + rng_uniform(&rng) : 0.3 * rng_normal(&rng));
        for (; n_rest > 0; n_rest--)
            *to++ = (float)(0.4 * rng_normal(&rng));
    }
    *size = header + sizeof(float) * c->n_params;
    return file;
}

static inline struct network *small_network_of(const char *text)
{
    struct cfg *c = small_cfg_parse_text(text);
    struct network *net;
    size_t size;
    uint8_t *file = small_weights(c, 2, &size);

    or_die(network_new(&net, c, file, size));
    return net;
}

static inline struct network *small_network(void)
{
    return small_network_of(small_cfg);
}

/* Removes the folder when this process is gone, whatever ended it: a shell waits for the end of a pipe that nobody
 * writes to. */
static inline void small_folder_outlived(const char *folder)
{
    char *command = xasprintf("trap '' INT TERM; cat; rm -rf '%s'", folder);

    if (!popen(command, "we"))
        abort();
    free(command);
}

/* A fresh folder with small.cfg, small.weights and small.names; free() the name after fs_remove_tree(). A test that dies
 * leaves none behind. */
static inline char *small_folder(void)
{
    char *folder = xstrdup("/tmp/bloginfer-detector-XXXXXX");
    struct cfg *c = small_cfg_parse();
    size_t size;
    uint8_t *file = small_weights(c, 2, &size);

    if (!mkdtemp(folder))
        abort();
    small_folder_outlived(folder);
    static const char *const endings[] = {"cfg", "weights", "names"};
    const void *bodies[] = {small_cfg, file, "cat\ndog\n"};
    const size_t sizes[] = {strlen(small_cfg), size, 8};
    for (int i = 0; i < 3; i++) {
        char *path = xasprintf("%s/small.%s", folder, endings[i]);
        or_die(fs_write_atomic(path, bodies[i], sizes[i]));
        free(path);
    }
    free(file);
    free(c);
    return folder;
}

#endif
