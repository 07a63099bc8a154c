/* slug.h - a post's title as part of an address: letters and digits of any script in lower case, words joined by '-'. */
#ifndef BLOG_SLUG_H
#define BLOG_SLUG_H

#include "base/base.h"

#define SLUG_SIZE 128 /* with the NUL: at most 96 bytes of the title, and a number */

/* The slug of a title, valid UTF-8: attempt 1 the bare one, 2 to 4 with that number behind it, beyond with a random one. Never
 * empty and never only digits, which would be an id. */
void slug_make(char out[SLUG_SIZE], const char *title, unsigned attempt);

#endif
