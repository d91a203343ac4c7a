/* SPDX-License-Identifier: Apache-2.0 */
/* The whole ABI in one include. */
#ifndef GANTRY_GANTRY_H
#define GANTRY_GANTRY_H
#include <gantry/abi.h>
#include <gantry/controller.h>
#include <gantry/datapath.h>
#include <gantry/disk.h>
#include <gantry/host.h>
#include <gantry/job.h>
#include <gantry/node.h>
#include <gantry/plugin.h>
#include <gantry/snapshot.h>
#include <gantry/state.h>
#include <gantry/task.h>
#endif
