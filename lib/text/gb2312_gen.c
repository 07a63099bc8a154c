/* gb2312_gen.c - runs at build time: writes the table that maps a code point to its rank in GB 2312.
 *
 * The characters come from the C library's EUC-CN converter, in the order of their two bytes (row, then cell), and are
 * counted: another edition of the set would silently shift every id of every model, so it stops the build.
 * The table has two levels, pages of 256 code points; page 0 is the empty one. */
#include <iconv.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N_CHARACTERS 7445 /* 682 symbols and 6,763 ideographs */

static uint16_t rank_of[0x10000]; /* from 1; 0: not in the set */

/* The code point of row byte a and cell byte b; 0: the cell is empty. */
static uint32_t convert(iconv_t cd, unsigned a, unsigned b)
{
    char in[2] = {(char)a, (char)b}, *from = in;
    unsigned char out[4] = {0};
    char *to = (char *)out;
    size_t n_in = sizeof in, n_out = sizeof out;

    iconv(cd, NULL, NULL, NULL, NULL);
    if (iconv(cd, &from, &n_in, &to, &n_out) == (size_t)-1 || n_in || n_out)
        return 0;
    return (uint32_t)out[0] << 24 | (uint32_t)out[1] << 16 | (uint32_t)out[2] << 8 | out[3];
}

static int rank_all(iconv_t cd)
{
    int n = 0;

    for (unsigned a = 0xa1; a <= 0xf7; a++)
        for (unsigned b = 0xa1; b <= 0xfe; b++) {
            uint32_t point = convert(cd, a, b);
            if (point >= 0x80 && point < 0x10000 && !rank_of[point])
                rank_of[point] = (uint16_t)++n;
        }
    return n;
}

static void write_pages(FILE *f)
{
    static const uint16_t empty[256];
    unsigned page_of[256], n_pages = 1;

    fprintf(f, "static const uint16_t gb2312_rank[][256] = {\n{0},\n");
    for (unsigned page = 0; page < 256; page++) {
        const uint16_t *row = rank_of + (size_t)page * 256;
        page_of[page] = 0;
        if (!memcmp(row, empty, sizeof empty))
            continue;
        page_of[page] = n_pages++;
        fprintf(f, "{");
        for (unsigned i = 0; i < 256; i++)
            fprintf(f, "%u,%s", (unsigned)row[i], i % 32 == 31 ? "\n" : "");
        fprintf(f, "},\n");
    }
    fprintf(f, "};\nstatic const uint8_t gb2312_page[256] = {\n");
    for (unsigned page = 0; page < 256; page++)
        fprintf(f, "%u,%s", page_of[page], page % 32 == 31 ? "\n" : "");
    fprintf(f, "};\n");
}

int main(int argc, char **argv)
{
    iconv_t cd = iconv_open("UTF-32BE", "EUC-CN");
    FILE *f;
    int n;

    if (argc != 2 || cd == (iconv_t)-1) {
        fprintf(stderr, "gb2312_gen: usage: gb2312_gen FILE, with a C library that knows EUC-CN\n");
        return 1;
    }
    n = rank_all(cd);
    iconv_close(cd);
    if (n != N_CHARACTERS) {
        fprintf(stderr, "gb2312_gen: EUC-CN of this C library has %d characters, not %d\n", n, N_CHARACTERS);
        return 1;
    }
    f = fopen(argv[1], "w");
    if (!f) {
        perror(argv[1]);
        return 1;
    }
    fprintf(f, "/* made by gb2312_gen.c: rank of a code point in GB 2312, from 1; 0: not in the set */\n");
    write_pages(f);
    if (fclose(f)) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
