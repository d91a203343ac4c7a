// SPDX-License-Identifier: Apache-2.0
// That counts are exact shows when the kernel has forgotten everything: a count too high stays, one too low
// was missed before.
#pragma once

#include <gtest/gtest.h>

#include <fstream>

#include "host/datapath/nodes.hpp"
#include "tests/integration/volume_fixture.hpp"

namespace gantry::tests {

// Waits until the kernel has no node of the volume any more, and nobody counts on one.
inline void ExpectAllIsForgotten(const datapath::NodeTable& nodes) {
  const auto all_zero = [&] {
    std::ofstream("/proc/sys/vm/drop_caches") << "2\n";
    const auto counts = nodes.Count();
    return counts.nodes == 0 && counts.lookups == 0 && counts.opens == 0;
  };
  EXPECT_TRUE(Eventually(all_zero, kLong))
      << nodes.Count().nodes << " nodes, " << nodes.Count().lookups << " lookups, "
      << nodes.Count().opens << " opens";
}

}  // namespace gantry::tests
