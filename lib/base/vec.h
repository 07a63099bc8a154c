/* vec.h - a growing array of equal elements under a ceiling. Not thread-safe.
 *
 *     struct vec rows = VEC_INIT(sizeof(struct row), 1000000);
 *     struct row *r = vec_push(&rows);      // zeroed; NULL when the ceiling is reached
 *     for (size_t i = 0; i < rows.n; i++)
 *         use(VEC_AT(&rows, struct row, i)); */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stddef.h>

struct vec {
    void *data;
    size_t n;
    size_t cap;
    size_t elem_size;
    size_t limit; /* ceiling for n */
};

#define VEC_INIT(elem_size, limit)                                                                                     \
    {                                                                                                                  \
        NULL, 0, 0, (elem_size), (limit)                                                                               \
    }
#define VEC_AT(v, type, i) (&((type *)(v)->data)[i])

void vec_fini(struct vec *v);
void *vec_push(struct vec *v);            /* a new zeroed element, valid until the next push; NULL at the ceiling */
void vec_remove(struct vec *v, size_t i); /* the last element takes its place */

#endif
