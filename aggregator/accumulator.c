/* accumulator.c - see accumulator.h. The sum is kept in double, so that the order of arrival moves the mean by far less
 * than a float's last bit. */
#include "accumulator.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct accumulator {
    size_t n_params;    /* set at birth */
    pthread_mutex_t mu; /* guards all below */
    uint64_t weight;
    double *sum;    /* (n_params,), of weight * update */
    float *staging; /* (n_params,), the update being added */
};

struct accumulator *accumulator_new(size_t n_params)
{
    struct accumulator *a = xcalloc(1, sizeof *a);

    a->n_params = n_params;
    a->sum = xaligned(n_params, sizeof *a->sum);
    a->staging = xaligned(n_params, sizeof *a->staging);
    pthread_mutex_init(&a->mu, NULL);
    return a;
}

void accumulator_free(struct accumulator *a)
{
    if (!a)
        return;
    pthread_mutex_destroy(&a->mu);
    free(a->sum);
    free(a->staging);
    free(a);
}

void accumulator_reset(struct accumulator *a)
{
    pthread_mutex_lock(&a->mu);
    memset(a->sum, 0, a->n_params * sizeof *a->sum);
    a->weight = 0;
    pthread_mutex_unlock(&a->mu);
}

struct status accumulator_add(struct accumulator *a, struct spool *update, uint64_t weight)
{
    pthread_mutex_lock(&a->mu);
    struct status st = spool_read(update, a->staging, a->n_params);
    if (!st.code) {
        double w = (double)weight;

        for (size_t i = 0; i < a->n_params; i++)
            a->sum[i] += w * a->staging[i];
        a->weight += weight;
    }
    pthread_mutex_unlock(&a->mu);
    return st;
}

uint64_t accumulator_mean(struct accumulator *a, float *mean)
{
    pthread_mutex_lock(&a->mu);
    uint64_t weight = a->weight;
    if (weight) {
        double scale = 1.0 / (double)weight;

        for (size_t i = 0; i < a->n_params; i++)
            mean[i] = (float)(a->sum[i] * scale);
    }
    pthread_mutex_unlock(&a->mu);
    return weight;
}
