/* config.c - see config.h. */
#include "base/config.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES   64
#define SECRET_MAX_BYTES 4096

/* "like-this" -> "BLOGINFER_LIKE_THIS", plus suffix. name has NAME_MAX_BYTES. */
static const char *env_name(char *name, const char *option, const char *suffix)
{
    int n = snprintf(name, NAME_MAX_BYTES, "BLOGINFER_%s%s", option, suffix);

    for (int i = 0; i < n && i < NAME_MAX_BYTES - 1; i++)
        name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
    return name;
}

static void *member(const struct config_part *part, const struct config_option *o)
{
    return (char *)part->settings + o->offset;
}

static bool is_text(const struct config_option *o)
{
    return o->kind == CONFIG_STR || o->kind == CONFIG_ENUM || o->kind == CONFIG_SECRET;
}

static bool has_limits(const struct config_option *o)
{
    return o->min != 0 || o->max != 0;
}

static struct status bad_value(const struct config_option *o, const char *value, const char *allowed)
{
    return status_errorf(ST_INVALID, "--%s \"%s\": must be %s", o->name, value, allowed);
}

static struct status set_number(const struct config_part *part, const struct config_option *o, const char *value)
{
    char allowed[96], *end;
    double d;
    long long i = 0;

    errno = 0;
    if (o->kind == CONFIG_INT) {
        i = strtoll(value, &end, 10);
        d = (double)i;
    } else {
        d = strtod(value, &end);
    }
    const char *what = o->kind == CONFIG_INT ? "a whole number" : "a number";
    if (has_limits(o))
        snprintf(allowed, sizeof allowed, "%s from %.15g to %.15g", what, o->min, o->max);
    else
        snprintf(allowed, sizeof allowed, "%s", what);
    if (end == value || *end || errno || !isfinite(d) || (has_limits(o) && (d < o->min || d > o->max)))
        return bad_value(o, value, allowed);
    if (o->kind == CONFIG_INT)
        *(int64_t *)member(part, o) = i;
    else
        *(double *)member(part, o) = d;
    return status_ok();
}

static struct status set_bool(const struct config_part *part, const struct config_option *o, const char *value)
{
    static const char *const words[] = {"true", "1", "yes", "on", "false", "0", "no", "off"};

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (!strcasecmp(value, words[i])) {
            *(bool *)member(part, o) = i < COUNT_OF(words) / 2;
            return status_ok();
        }
    return bad_value(o, value, "true or false");
}

static bool is_word(const char *words, const char *value)
{
    size_t n = strlen(value);

    for (const char *w = words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL)
        if (!strncmp(w, value, n) && (w[n] == '|' || !w[n]))
            return true;
    return false;
}

static struct status set_value(const struct config_part *part, const struct config_option *o, const char *value)
{
    if (o->kind == CONFIG_INT || o->kind == CONFIG_FLOAT)
        return set_number(part, o, value);
    if (o->kind == CONFIG_BOOL)
        return set_bool(part, o, value);
    if (o->kind == CONFIG_ENUM && !is_word(o->words, value))
        return bad_value(o, value, o->words);
    char **text = member(part, o);
    free(*text);
    *text = xstrdup(value);
    return status_ok();
}

/* The secret's first line. */
static struct status set_secret_file(const struct config_part *part, const struct config_option *o, const char *path)
{
    char *data;
    size_t size;
    struct status st = fs_read(path, SECRET_MAX_BYTES, &data, &size);

    if (st.code) {
        st.code = ST_INVALID;
        return status_prefix(st, "--%s-file", o->name);
    }
    data[strcspn(data, "\r\n")] = '\0';
    st = set_value(part, o, data);
    explicit_bzero(data, size);
    free(data);
    return st;
}

static struct status set_from_environment(const struct config_part *part, const struct config_option *o)
{
    char name[NAME_MAX_BYTES];
    const char *value;

    if (o->kind == CONFIG_SECRET && (value = getenv(env_name(name, o->name, "-file"))))
        return set_secret_file(part, o, value);
    value = getenv(env_name(name, o->name, ""));
    if (!value)
        return status_ok();
    struct status st = set_value(part, o, value);
    return status_prefix(st, "%s", name);
}

static void print_option(const struct config_option *o)
{
    static const char *const operands[] = {
        [CONFIG_STR] = " TEXT", [CONFIG_INT] = " N",     [CONFIG_FLOAT] = " X",
        [CONFIG_BOOL] = "",     [CONFIG_ENUM] = " WORD", [CONFIG_SECRET] = "-file PATH"};
    char name[NAME_MAX_BYTES];

    printf("  --%s%s\n        %s", o->name, operands[o->kind], o->help);
    if (o->words)
        printf(" (%s)", o->words);
    if (o->preset && *o->preset && o->kind != CONFIG_SECRET)
        printf("; default %s", o->preset);
    if (has_limits(o))
        printf("; %.15g to %.15g", o->min, o->max);
    printf("\n        %s\n", env_name(name, o->name, o->kind == CONFIG_SECRET ? "-file" : ""));
}

static void print_help(const struct config_program *program, const struct config_part *parts, size_t n_parts)
{
    printf("usage: %s [OPTION...]%s%s\n%s\n\n", program->name, program->positional ? " " : "",
           program->positional ? program->positional : "", program->synopsis);
    printf("Options, each with its environment variable; an option wins over the environment:\n");
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n; i++)
            print_option(&parts[p].options[i]);
    printf("  --help\n        this text\n  --version\n        the version\n");
}

/* The option that the word (after "--", up to '=') names; *is_file: its -file form. */
static const struct config_option *find_option(const struct config_part *parts, size_t n_parts, const char *word,
                                               size_t n, const struct config_part **part, bool *is_file)
{
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n; i++) {
            const struct config_option *o = &parts[p].options[i];
            size_t size = strlen(o->name);

            *part = &parts[p];
            *is_file = o->kind == CONFIG_SECRET;
            if (*is_file ? n == size + 5 && !strncmp(word, o->name, size) && !strncmp(word + size, "-file", 5)
                         : n == size && !strncmp(word, o->name, size))
                return o;
        }
    return NULL;
}

/* argv[*i] is a flag; *i ends on its last word. */
static struct status set_from_flag(const struct config_part *parts, size_t n_parts, int argc, char **argv, int *i)
{
    const char *word = argv[*i] + 2, *value = strchr(word, '=');
    size_t n = value ? (size_t)(value - word) : strlen(word);
    const struct config_part *part;
    bool is_file;
    const struct config_option *o = find_option(parts, n_parts, word, n, &part, &is_file);

    if (!o)
        return status_errorf(ST_INVALID, "--%.*s: no such option (--help lists them)", (int)n, word);
    if (value)
        value++;
    else if (o->kind == CONFIG_BOOL)
        value = "true";
    else if (*i + 1 < argc)
        value = argv[++*i];
    else
        return status_errorf(ST_INVALID, "--%s: needs a value", o->name);
    return is_file ? set_secret_file(part, o, value) : set_value(part, o, value);
}

static struct status load_arguments(const struct config_program *program, const struct config_part *parts,
                                    size_t n_parts, int *argc, char **argv)
{
    int kept = 1;
    bool flags_over = false;

    for (int i = 1; i < *argc; i++) {
        if (flags_over || strncmp(argv[i], "--", 2) != 0) {
            if (!program->positional)
                return status_errorf(ST_INVALID, "\"%s\": unexpected (--help lists the options)", argv[i]);
            argv[kept++] = argv[i];
        } else if (!argv[i][2]) {
            flags_over = true;
        } else if (!strcmp(argv[i], "--help")) {
            print_help(program, parts, n_parts);
            exit(0);
        } else if (!strcmp(argv[i], "--version")) {
            printf("%s %s\n", program->name, BLOGINFER_VERSION);
            exit(0);
        } else {
            struct status st = set_from_flag(parts, n_parts, *argc, argv, &i);

            if (st.code)
                return st;
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return status_ok();
}

static struct status check_required(const struct config_part *parts, size_t n_parts)
{
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n; i++) {
            const struct config_option *o = &parts[p].options[i];

            if (!o->preset && is_text(o) && !*(char **)member(&parts[p], o))
                return status_errorf(ST_INVALID, "--%s is required: %s", o->name, o->help);
        }
    return status_ok();
}

struct status config_load(const struct config_program *program, const struct config_part *parts, size_t n_parts,
                          int *argc, char **argv)
{
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n; i++) {
            const struct config_option *o = &parts[p].options[i];
            struct status st = o->preset ? set_value(&parts[p], o, o->preset) : status_ok();

            if (!st.code)
                st = set_from_environment(&parts[p], o);
            if (st.code)
                return st;
        }
    struct status st = load_arguments(program, parts, n_parts, argc, argv);
    return st.code ? st : check_required(parts, n_parts);
}

void config_free(const struct config_part *parts, size_t n_parts)
{
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n; i++)
            if (is_text(&parts[p].options[i])) {
                char **text = member(&parts[p], &parts[p].options[i]);

                free(*text);
                *text = NULL;
            }
}

static struct log_kv shown(const struct config_part *part, const struct config_option *o)
{
    const void *value = member(part, o);

    switch (o->kind) {
    case CONFIG_INT:
        return log_i(o->name, *(const int64_t *)value);
    case CONFIG_FLOAT:
        return log_f(o->name, *(const double *)value);
    case CONFIG_BOOL:
        return log_s(o->name, *(const bool *)value ? "true" : "false");
    case CONFIG_SECRET:
        return log_s(o->name, **(char *const *)value ? "(set)" : "");
    default:
        return log_s(o->name, *(char *const *)value);
    }
}

void config_log(const struct config_part *parts, size_t n_parts)
{
    size_t n = 0;

    for (size_t p = 0; p < n_parts; p++)
        n += parts[p].n;
    struct log_kv *kvs = xcalloc(n, sizeof *kvs);
    n = 0;
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n; i++)
            kvs[n++] = shown(&parts[p], &parts[p].options[i]);
    log_write(LOG_INFO, "settings", kvs, n);
    free(kvs);
}
