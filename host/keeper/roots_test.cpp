// SPDX-License-Identifier: Apache-2.0
#include "host/keeper/roots.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <string>
#include <vector>

namespace gantry::keeper {
namespace {

TEST(WorkerRootsTest, ARootThatCouldNotBeMadeIsMadeAgainLater) {
  // Ends without a word, as a worker does that may not make namespaces.
  const auto worker = base::PinnedBinary::Open("/bin/false");
  ASSERT_TRUE(worker);
  std::vector<std::string> said;
  const WorkerRoots::Print print = [&](std::string_view line) { said.emplace_back(line); };
  WorkerRoots roots(*worker, print);
  const std::string plugin = "/plugins/nfs.so";
  const base::TimePoint now = std::chrono::steady_clock::now();
  const auto fail = [&] {
    ASSERT_EQ(roots.Making().size(), 1U);
    const auto [folder, fd] = roots.Making().front();
    pollfd readable{fd, POLLIN, 0};
    ASSERT_EQ(poll(&readable, 1, 10'000), 1);
    EXPECT_TRUE(roots.OnSaid(folder).Wait(std::chrono::seconds(10)));
  };
  EXPECT_EQ(roots.For(plugin, now), -1);
  fail();
  EXPECT_EQ(said.size(), 1U);
  EXPECT_EQ(roots.For(plugin, now + kRootAgainAfter / 2), -1);
  EXPECT_TRUE(roots.Making().empty()) << "not at every start of a data path";
  EXPECT_EQ(roots.For(plugin, now + kRootAgainAfter), -1);
  fail();
  EXPECT_EQ(said.size(), 2U);
}

}  // namespace
}  // namespace gantry::keeper
