/* base.h - what every program and library stands on; includes nothing else of ours. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/cpus.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/lifecycle.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/vec.h"

#endif
