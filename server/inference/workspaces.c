/* workspaces.c - see workspaces.h. Bounded by the number of rpc worker threads, which is the number of callers. */
#include "workspaces.h"

#include "base/base.h"

#include <pthread.h>
#include <stdlib.h>

struct workspaces {
    struct nn_shape shape; /* set at birth */
    pthread_mutex_t mu;    /* guards all below */
    struct nn_workspace **idle;
    size_t n_idle, n_all; /* idle has room for n_all */
};

struct workspaces *workspaces_new(const struct nn_shape *shape)
{
    struct workspaces *p = xcalloc(1, sizeof *p);

    p->shape = *shape;
    pthread_mutex_init(&p->mu, NULL);
    return p;
}

void workspaces_free(struct workspaces *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_idle; i++)
        nn_workspace_free(p->idle[i]);
    pthread_mutex_destroy(&p->mu);
    free(p->idle);
    free(p);
}

struct nn_workspace *workspaces_take(struct workspaces *p)
{
    struct nn_workspace *ws = NULL;

    pthread_mutex_lock(&p->mu);
    if (p->n_idle)
        ws = p->idle[--p->n_idle];
    else
        p->idle = xrealloc(p->idle, ++p->n_all, sizeof(struct nn_workspace *));
    pthread_mutex_unlock(&p->mu);
    return ws ? ws : nn_workspace_new(&p->shape, WORKSPACES_BATCH);
}

void workspaces_give(struct workspaces *p, struct nn_workspace *ws)
{
    pthread_mutex_lock(&p->mu);
    p->idle[p->n_idle++] = ws;
    pthread_mutex_unlock(&p->mu);
}
