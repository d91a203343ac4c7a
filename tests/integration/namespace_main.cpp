// SPDX-License-Identifier: Apache-2.0
// main of tests that mount: enters a mount namespace while there is one thread only.
#include <gtest/gtest.h>

#include "tests/integration/fuse_mount.hpp"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  gantry::tests::EnterMountNamespace();
  return RUN_ALL_TESTS();
}
