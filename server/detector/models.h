/* models.h - the models that serve, by name. Each has a place from the start on; what stands in it may be replaced at any
 * time by a newer version of its files, or be missing, with the reason. Thread-safe after models_open(). */
#ifndef DETECTOR_MODELS_H
#define DETECTOR_MODELS_H

#include "served.h"

#include <stdbool.h>

struct models;

struct models_config {
    const char *model;          /* the default one's name */
    const char *others;         /* further names, separated by commas; "all": every complete one in the folders */
    struct served_config serve; /* strings: borrowed */
};

/* ST_INVALID: an unknown engine, or more than LOADER_MAX_MODELS names; ST_UNAVAILABLE: an engine that this CPU cannot run.
 * A model that cannot be loaded only leaves its place empty. See served_try() about threads. */
struct status models_open(struct models **out, const struct models_config *config);
void models_close(struct models *m); /* NULL is fine */

/* The model of that name, "" or NULL: the default one; to be released. ST_NOT_FOUND names those there are;
 * ST_PRECONDITION says why it does not serve. */
struct status models_acquire(struct models *m, const char *name, struct served **out);

/* One of the places. */
struct models_entry {
    const char *name;      /* as long as the models */
    struct served *served; /* to be released; NULL: none serves */
    struct status problem; /* of the newest files; OK: they serve */
    bool is_default;
    struct loader_stamp tried; /* before the files were loaded at the start; zero: they were not */
};
size_t models_count(struct models *m); /* never falls */
struct models_entry models_get(struct models *m, size_t i);

/* OK: every model that was named in the settings serves. ST_PRECONDITION: one does not, and why. */
struct status models_ready(struct models *m);

/* ---- for reload.h ---- */

const struct served_config *models_config(const struct models *m);

/* Looks for models that have become complete, where all are wanted, and gives them a place. */
void models_find(struct models *m);

/* The newest files serve from now on (served is given away), or do not: what served before goes on. */
void models_replace(struct models *m, size_t i, struct served *served);
void models_refuse(struct models *m, size_t i, struct status why);

#endif
