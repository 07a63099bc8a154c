/* pool.c - who runs a handler and when, see call.h. At most max_running run at once, in the order of their arrival. The
 * threads here are not civetweb's, because those have 100 KiB of stack; a handler that is content with that (a light
 * one) runs on civetweb's thread of its connection once it is its turn, which saves handing it over and back. */
#include "http/call.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define STACK_BYTES ((size_t)1 << 20)

struct queue {
    struct http_call *first, **last;
};

struct pool {
    size_t max_running, n_threads;
    size_t limit; /* of calls that wait */
    int64_t max_wait_ms;
    pthread_t *threads;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t wake;
    struct queue waiting; /* for their turn */
    struct queue ready;   /* whose turn has come, for one of the threads */
    size_t n_waiting, n_running;
    int64_t mean_ns; /* of a handler, of late */
    bool stopping;
};

static void push(struct queue *q, struct http_call *call)
{
    call->next = NULL;
    *q->last = call;
    q->last = &call->next;
}

static struct http_call *pop(struct queue *q)
{
    struct http_call *call = q->first;

    if (!call)
        return NULL;
    q->first = call->next;
    if (!q->first)
        q->last = &q->first;
    return call;
}

/* Lets as many begin as may run. */
static void dispatch_locked(struct pool *p)
{
    while (p->waiting.first && p->n_running < p->max_running) {
        struct http_call *call = pop(&p->waiting);

        p->n_waiting--;
        p->n_running++;
        if (call->match.route->light) {
            sem_post(&call->turn);
            continue;
        }
        push(&p->ready, call);
        pthread_cond_signal(&p->wake);
    }
}

static void give_turn(struct pool *p, const struct http_call *call)
{
    pthread_mutex_lock(&p->mu);
    p->mean_ns += (clock_now() - call->began - p->mean_ns) / 8;
    p->n_running--;
    dispatch_locked(p);
    pthread_mutex_unlock(&p->mu);
}

void pool_leave(struct pool *p, struct http_call *call)
{
    assert(call->match.route->light && !call->left);
    call->left = true;
    give_turn(p, call);
}

static void run(struct pool *p, struct http_call *call)
{
    call->began = clock_now();
    http_call_run(call);
    if (!call->left)
        give_turn(p, call);
}

static struct http_call *next_call(struct pool *p)
{
    struct http_call *call;

    pthread_mutex_lock(&p->mu);
    while (!p->ready.first && !p->stopping)
        pthread_cond_wait(&p->wake, &p->mu);
    call = pop(&p->ready);
    pthread_mutex_unlock(&p->mu);
    return call;
}

static void *pool_thread(void *arg)
{
    struct pool *p = arg;
    struct http_call *call;

    while ((call = next_call(p))) {
        run(p, call);
        sem_post(&call->turn);
    }
    return NULL;
}

struct pool *pool_new(size_t n_running, size_t n_threads, size_t queue, int64_t max_wait_ms)
{
    struct pool *p = xcalloc(1, sizeof *p);

    *p = (struct pool){.max_running = n_running, .n_threads = n_threads, .limit = queue, .max_wait_ms = max_wait_ms};
    p->waiting.last = &p->waiting.first;
    p->ready.last = &p->ready.first;
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->threads = xcalloc(n_threads, sizeof *p->threads);
    for (size_t i = 0; i < n_threads; i++)
        p->threads[i] = thread_start("http-handler", STACK_BYTES, pool_thread, p);
    return p;
}

/* Whether one more may come: it runs at once, or there is room and its turn will come in time. */
static bool has_room_locked(const struct pool *p)
{
    int64_t turns = (int64_t)(p->n_waiting / p->max_running) + 1;

    if (p->n_running < p->max_running)
        return true;
    return p->n_waiting < p->limit && (!p->max_wait_ms || turns * p->mean_ns / CLOCK_MS <= p->max_wait_ms);
}

bool pool_run(struct pool *p, struct http_call *call)
{
    bool room;

    pthread_mutex_lock(&p->mu);
    room = has_room_locked(p);
    if (room) {
        push(&p->waiting, call);
        p->n_waiting++;
        dispatch_locked(p);
    }
    pthread_mutex_unlock(&p->mu);
    if (!room)
        return false;
    while (sem_wait(&call->turn) && errno == EINTR)
        ;
    if (call->match.route->light)
        run(p, call);
    return true;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    assert(!p->n_waiting && !p->n_running);
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
