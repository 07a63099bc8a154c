/* table.h - rows of text in aligned columns, by what a terminal shows: a Chinese character is two columns wide.
 *
 *     struct table *t = table_new("TASK", ">VERSION", "SHA256", NULL);    // '>': right-aligned
 *     table_cell(t, "%s", task);    // as many cells a row as there are columns
 *     table_print(t, stdout, width);
 *
 * Cells come from servers and from readers' comments: control characters and bytes that are not UTF-8 are shown as
 * U+FFFD or a blank, so that no text can move the cursor or forge a row. Widths need a UTF-8 LC_CTYPE. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stdio.h>

struct table;

/* Headers, then NULL. */
__attribute__((sentinel)) struct table *table_new(const char *header, ...);

__attribute__((format(printf, 2, 3))) void table_cell(struct table *t, const char *fmt, ...);

/* Prints headers and rows and frees the table. width: of the terminal; a last column that does not fit is cut, with
 * "…"; 0: no limit. */
void table_print(struct table *t, FILE *out, int width);

/* Shows no line of headers. */
void table_hide_headers(struct table *t);

/* Columns that the text takes, after cleaning. */
int text_width(const char *text);

/* The text made safe for a terminal; to free(). */
char *text_clean(const char *text);

/* Columns of the terminal behind the stream; 0: not a terminal. */
int terminal_width(FILE *stream);

#endif
