/* self.c - see self.h. */
#include "self.h"

#include <stdlib.h>
#include <string.h>

void self_label(struct self_rows *s, const struct self_rule *rule, const struct corpus_examples *texts,
                const float *probs)
{
    *s = (struct self_rows){.rows = xcalloc(texts->n + 1, sizeof *s->rows),
                            .targets = xcalloc(2 * texts->n + 1, sizeof *s->targets)};
    memcpy(s->targets, probs, 2 * texts->n * sizeof *probs);
    for (size_t i = 0; i < texts->n; i++) {
        float *p = s->targets + 2 * i;
        uint32_t label = p[1] >= p[0];

        if ((double)p[label] < rule->confidence)
            continue;
        struct nn_example *x = &s->rows[s->n++];
        *x = texts->rows[i];
        s->n_as_withheld += x->label == label;
        x->label = label;
        x->target = rule->hard ? NULL : p;
    }
}

void self_fini(struct self_rows *s)
{
    free(s->rows);
    free(s->targets);
    *s = (struct self_rows){0};
}
