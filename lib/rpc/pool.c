/* pool.c - see pool.h. */
#include "rpc/pool.h"

#include "rpc/account.h"
#include "rpc/call.h"

#include <stdlib.h>

static struct rpc_call *pop(struct pool *p)
{
    struct rpc_call *call = NULL;

    pthread_mutex_lock(&p->mu);
    while (!p->n && !p->stopping) {
        p->n_idle++;
        pthread_cond_wait(&p->changed, &p->mu);
    }
    if (p->n) {
        call = p->ring[p->first];
        p->first = (p->first + 1) % p->cap;
        p->n--;
        p->n_bytes -= call->bytes_in;
        account_queued(-1);
    }
    pthread_mutex_unlock(&p->mu);
    return call;
}

static void *work(void *arg)
{
    struct pool *p = arg;
    struct rpc_call *call;

    while ((call = pop(p)))
        p->run(call);
    return NULL;
}

void pool_start(struct pool *p, int n_threads, size_t cap, void (*run)(struct rpc_call *call))
{
    *p = (struct pool){.run = run, .cap = cap, .n_threads = n_threads};
    p->ring = xcalloc(cap, sizeof *p->ring);
    p->threads = xcalloc((size_t)n_threads, sizeof *p->threads);
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->changed, NULL);
    for (int i = 0; i < n_threads; i++)
        p->threads[i] = thread_start("rpc-work", 0, work, p);
}

bool pool_push(struct pool *p, struct rpc_call *call)
{
    bool room;

    pthread_mutex_lock(&p->mu);
    room = p->n < p->cap && (!p->n || p->n_bytes + call->bytes_in <= POOL_MAX_BYTES);
    if (room) {
        p->n_bytes += call->bytes_in;
        p->ring[(p->first + p->n++) % p->cap] = call;
        account_queued(1);
        if (p->n_idle > 0) {
            p->n_idle--;
            pthread_cond_signal(&p->changed);
        }
    }
    pthread_mutex_unlock(&p->mu);
    return room;
}

void pool_stop(struct pool *p)
{
    if (!p->threads)
        return;
    pthread_mutex_lock(&p->mu);
    p->stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mu);
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mu);
    free(p->threads);
    free(p->ring);
    *p = (struct pool){.run = NULL};
}
