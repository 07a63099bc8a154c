/* pool.c - the threads that handlers run on, see call.h. They are not civetweb's, because those have 100 KiB of stack
 * and are as many as there are connections; these have STACK_BYTES (of address space) and bound the work at once. */
#include "http/call.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define STACK_BYTES ((size_t)1 << 20)

struct pool {
    size_t n_threads;
    size_t limit; /* of calls that wait */
    pthread_t *threads;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t wake;
    struct http_call *first, **last;
    size_t waiting, idle;
    bool stopping;
};

static struct http_call *next_call(struct pool *p)
{
    struct http_call *call;

    pthread_mutex_lock(&p->mu);
    p->idle++;
    while (!p->first && !p->stopping)
        pthread_cond_wait(&p->wake, &p->mu);
    p->idle--;
    call = p->first;
    if (call) {
        p->first = call->next;
        if (!p->first)
            p->last = &p->first;
        p->waiting--;
    }
    pthread_mutex_unlock(&p->mu);
    return call;
}

static void *pool_thread(void *arg)
{
    struct http_call *call;

    while ((call = next_call(arg))) {
        http_call_run(call);
        sem_post(&call->done);
    }
    return NULL;
}

struct pool *pool_new(size_t n_threads, size_t queue)
{
    struct pool *p = xcalloc(1, sizeof *p);

    *p = (struct pool){.n_threads = n_threads, .limit = queue, .last = &p->first};
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->threads = xcalloc(n_threads, sizeof *p->threads);
    for (size_t i = 0; i < n_threads; i++)
        p->threads[i] = thread_start("http-handler", STACK_BYTES, pool_thread, p);
    return p;
}

bool pool_run(struct pool *p, struct http_call *call)
{
    bool room;

    pthread_mutex_lock(&p->mu);
    room = p->waiting < p->limit + p->idle; /* an idle thread takes one at once */
    if (room) {
        *p->last = call;
        p->last = &call->next;
        p->waiting++;
        pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&p->mu);
    if (!room)
        return false;
    while (sem_wait(&call->done) && errno == EINTR)
        ;
    return true;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    assert(!p->first);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mu);
    for (size_t i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mu);
    free(p->threads);
    free(p);
}
