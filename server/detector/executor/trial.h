/* trial.h - does an engine compute this network right, and how fast? Asked once at start, before it serves. */
#ifndef DETECTOR_TRIAL_H
#define DETECTOR_TRIAL_H

#include "engine.h"

#define TRIAL_TOLERANCE 1e-4 /* largest |ours - darknet's| / max(1, |darknet's|) that passes */

struct trial {
    double forward_seconds; /* the best of a few */
    double error;           /* as TRIAL_TOLERANCE; 0 when there was nothing to compare with */
    bool compared;          /* false: darknet is not installed, only finite outputs were checked */
};

/* Makes such an engine and runs it. darknet itself runs in a child process, so that nothing it does to a process can
 * reach this one; call it before threads are started, OpenBLAS's too (nn_setup_blas()). ST_INVALID: outputs that are not finite or differ, or darknet
 * dies on this network. */
struct status trial_run(const struct engine_kind *kind, const struct network *net, struct trial *result);

#endif
