/* slug.c - see slug.h. */
#include "slug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define MAX_BYTES  96
#define MAX_POINTS 72 /* the table's limit with room for a number */

static bool is_letter(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);

    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

/* Adds the code points that count, and one '-' for what lies between them. */
static size_t slug_fill(char out[SLUG_SIZE], const utf8proc_uint8_t *folded)
{
    size_t size = 0, n = 0;
    bool between = false;
    utf8proc_int32_t c;

    for (utf8proc_ssize_t step; *folded && (step = utf8proc_iterate(folded, -1, &c)) > 0; folded += step) {
        if (!is_letter(c)) {
            between = size > 0;
            continue;
        }
        if (size + (size_t)step + 1 > MAX_BYTES || n + 2 > MAX_POINTS)
            break;
        if (between)
            out[size++] = '-', n++;
        memcpy(out + size, folded, (size_t)step);
        size += (size_t)step;
        n++;
        between = false;
    }
    out[size] = '\0';
    return size;
}

void slug_make(char out[SLUG_SIZE], const char *title, unsigned attempt)
{
    utf8proc_uint8_t *folded = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)title, 0, &folded,
                                      UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT |
                                          UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    size_t size = n < 0 ? 0 : slug_fill(out, folded);

    free(folded);
    if (!size)
        size = (size_t)snprintf(out, SLUG_SIZE, "post");
    if (size == strspn(out, "0123456789")) {
        memmove(out + 5, out, size + 1);
        memcpy(out, "post-", 5);
        size += 5;
    }
    if (attempt > 1)
        snprintf(out + size, SLUG_SIZE - size, "-%u",
                 attempt < 5 ? attempt : (unsigned)(clock_wall() / 1000 % 1000000));
}
