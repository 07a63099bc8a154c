/* self.h - self-training: what models say about texts without labels becomes training rows (Lee 2013; Yarowsky 1995). */
#ifndef BENCH_STUDY_SELF_H
#define BENCH_STUDY_SELF_H

#include "client/data/corpus.h"

struct self_rule {
    bool hard;         /* the likelier label, not the probabilities */
    double confidence; /* texts whose likelier label has less are left out */
    double share; /* of the second label among the rows: of the other one's, the least certain are left out; 0: any */
};

struct self_rows {
    struct nn_example *rows; /* tokens borrowed from the texts */
    size_t n;
    float *targets;       /* (texts,2), behind the rows */
    size_t n_as_withheld; /* rows whose likelier label is the one that was withheld */
};

/* probs (texts->n,2) of two classes. s: to self_fini(). */
void self_label(struct self_rows *s, const struct self_rule *rule, const struct corpus_examples *texts,
                const float *probs);
void self_fini(struct self_rows *s);

#endif
