/* routes.c - where models and training are found. */
#include "models.h"

#define SMALL ((size_t)4 << 10)
#define LARGE ((size_t)64 << 10)

const struct http_route models_routes[] = {
    {"GET", "/params", params_get_all, 0, .light = true},
    {"PUT", "/params", params_put_all, LARGE, .light = true},
    {"GET", "/api/models", models_list, 0, .light = true},
    {"GET", "/api/models/{task}", models_show, 0, .light = true},
    {"GET", "/api/models/{task}/params", params_get_one, 0, .light = true},
    {"PUT", "/api/models/{task}/params", params_put_one, LARGE, .light = true},
    {"GET", "/api/models/{task}/versions/{version}", models_version, 0, .light = true},
    {"POST", "/api/models/{task}/{version}/promote", models_promote, SMALL, .light = true},
    {"POST", "/api/models/{task}/rollback", models_rollback, SMALL, .light = true},
    {"POST", "/api/models/{task}/prune", models_prune, SMALL, .light = true},
    {"POST", "/api/train", train_post, LARGE, .light = true},
    {"GET", "/api/runs", runs_list, 0, .light = true},
    {"GET", "/api/runs/{id}", runs_show, 0, .light = true},
    {"POST", "/api/runs/{id}/stop", runs_stop, SMALL, .light = true},
    {"GET", "/api/runs/{id}/events", run_events, 0, .light = true},
};
const size_t models_n_routes = COUNT_OF(models_routes);
