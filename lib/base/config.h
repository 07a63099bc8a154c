/* config.h - one table loads, checks, documents and prints a program's settings.
 *
 *     struct settings { char *listen; int port; bool tls; };
 *     static const struct config_option options[] = {
 *         {"listen", CONFIG_STR, offsetof(struct settings, listen), "127.0.0.1", "address to listen on"},
 *         {"port", CONFIG_INT, offsetof(struct settings, port), "50051", "port", 0, 65535},
 *     };
 *
 * Each option is a flag --like-this VALUE (or --like-this=VALUE) and an environment variable
 * BLOGINFER_LIKE_THIS; the flag wins, then the environment, then the default. --help prints both with defaults
 * and ends the program with 0; --version likewise. */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/status.h"

#include <stddef.h>

enum config_kind {
    CONFIG_STR,   /* char *, never NULL, owned by the settings */
    CONFIG_INT,   /* int64_t, within min..max */
    CONFIG_FLOAT, /* double, within min..max */
    CONFIG_BOOL,  /* bool: --flag, --flag=true|false, environment 1|0|true|false|yes|no|on|off */
    CONFIG_ENUM,  /* char *, one of the words in `words`, separated by | */
    CONFIG_SECRET, /* char *: from BLOGINFER_X or the file that --x-file or BLOGINFER_X_FILE names, never a flag's value */
};

struct config_option {
    const char *name; /* "like-this" */
    enum config_kind kind;
    size_t offset;      /* of the member in the settings */
    const char *preset; /* the default, as text; NULL: required */
    const char *help;
    double min, max;   /* both 0: no limits */
    const char *words; /* for CONFIG_ENUM */
};

/* One table and the struct it fills; several make up a program's settings. */
struct config_part {
    const struct config_option *options;
    size_t n;
    void *settings; /* zeroed by the caller before the load */
};

struct config_program {
    const char *name;       /* "bloginfer-worker" */
    const char *synopsis;   /* one line for --help */
    const char *positional; /* "COMMAND [ARG...]" for --help, NULL when none are taken */
};

/* Fills every part. *argc and argv are left with argv[0] and the positional words alone.
 * ST_INVALID names the option, the value and what is allowed. */
struct status config_load(const struct config_program *program, const struct config_part *parts, size_t n_parts,
                          int *argc, char **argv);

/* Frees what config_load() put into the parts. */
void config_free(const struct config_part *parts, size_t n_parts);

/* One log line "settings" with every value, secrets masked. */
void config_log(const struct config_part *parts, size_t n_parts);

#endif
