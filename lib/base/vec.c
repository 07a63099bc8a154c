/* vec.c - see vec.h. */
#include "base/vec.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void vec_fini(struct vec *v)
{
    free(v->data);
    *v = (struct vec)VEC_INIT(v->elem_size, v->limit);
}

static void *at(const struct vec *v, size_t i)
{
    return (char *)v->data + i * v->elem_size;
}

void *vec_push(struct vec *v)
{
    if (v->n >= v->limit)
        return NULL;
    if (v->n == v->cap) {
        v->cap = v->cap ? v->cap * 2 : 8;
        v->data = xrealloc(v->data, v->cap, v->elem_size);
    }
    return memset(at(v, v->n++), 0, v->elem_size);
}

void vec_remove(struct vec *v, size_t i)
{
    if (i != --v->n)
        memcpy(at(v, i), at(v, v->n), v->elem_size);
}
