// SPDX-License-Identifier: Apache-2.0
// A target that is away for two minutes under verified load: I/O waits, nothing fails, and it goes on
// soon after the target is back, however long that was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "tests/integration/iscsi_lab.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kAway{120};
constexpr std::chrono::seconds kResumedWithin{5};

TEST(IscsiOutage, OfTwoMinutesCostsTimeAndNothingElse) {
  IscsiTarget target;
  IscsiNode node(target, "node-a");
  LunVolume volume = Named("waits");
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  const fs::path file = node.Target(volume) / "fio";
  const std::string fio =
      "fio --name=v --filename=" + file.string() +
      " --size=64m --rw=randwrite --bs=16k --direct=1 --ioengine=libaio --iodepth=8 --fsync=64"
      " --verify=crc32c --verify_state_save=0 --do_verify=1 --loops=3 --rate=6m --output=/dev/null";
  std::atomic<int> status = -1;
  std::thread load([&] { status = std::system(fio.c_str()); });
  ASSERT_TRUE(Soon([&] { return fs::exists(file); }, 20s));
  ASSERT_TRUE(target.tgt().Kill());
  std::atomic<bool> written = false;
  std::thread writer([&] {
    EXPECT_EQ(WriteSynced(node.Target(volume) / "waits", "it goes on"), 0);
    written = true;
  });
  poll(nullptr, 0, static_cast<int>(std::chrono::milliseconds(kAway).count()));
  EXPECT_FALSE(written) << "to a target that is away";
  EXPECT_EQ(status, -1);
  ASSERT_TRUE(target.tgt().Restart());
  const auto back = steady_clock::now();
  writer.join();
  const auto resumed = steady_clock::now() - back;
  std::printf("after %lld s away I/O went on %.2f s after the daemon was back\n",
              static_cast<long long>(kAway.count()),
              std::chrono::duration<double>(resumed).count());
  EXPECT_LE(resumed, kResumedWithin);
  load.join();
  EXPECT_EQ(status, 0);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
}

}  // namespace
}  // namespace gantry::tests
