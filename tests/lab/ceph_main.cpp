// SPDX-License-Identifier: Apache-2.0
// main of tests that are clients of a Ceph cluster themselves: ends without static objects' destructors,
// because threads that libcephfs has left (of a client that was thrown out, or is to pass for dead) may
// still use those, and then a test that has passed ends by a signal.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  std::fflush(nullptr);
  _exit(result);
}
