// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/lease.hpp"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::supervise {
namespace {

constexpr std::chrono::milliseconds kShort{50};
constexpr std::chrono::milliseconds kLong{10'000};

// A process that holds what it inherits and does nothing.
base::Child SpawnSleeper(int pass_fd) {
  const auto sleep = base::PinnedBinary::Open("/bin/sleep");
  base::SpawnOptions options;
  options.arguments = {"sleep", "60"};
  if (pass_fd >= 0) options.pass_fds = {pass_fd};
  return std::move(*base::Spawn(*sleep, options));
}

TEST(Lease, IsTakenWhereNobodyHoldsIt) {
  const base::TempDir dir;
  EXPECT_TRUE(TakeLease(dir.path() / "lease", kShort));
  EXPECT_TRUE(TakeLease(dir.path() / "lease", kShort)) << "the first one was let go";
}

TEST(Lease, IsNotTakenTwice) {
  const base::TempDir dir;
  const auto first = TakeLease(dir.path() / "lease", kShort);
  ASSERT_TRUE(first);
  const auto second = TakeLease(dir.path() / "lease", kShort);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, base::Code::kUnavailable);
}

TEST(Lease, EndsTheHolderThatItNames) {
  const base::TempDir dir;
  auto first = TakeLease(dir.path() / "lease", kShort);
  ASSERT_TRUE(first);
  auto holder = SpawnSleeper(first->get());
  ASSERT_TRUE(NoteHolder(first->get(), holder.pid()));
  first->Reset();
  EXPECT_TRUE(TakeLease(dir.path() / "lease", kLong));
  const auto status = holder.Wait(kLong);
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->signal, SIGKILL);
}

TEST(Lease, IsHeldByTheChildAlone) {
  const base::TempDir dir;
  auto first = TakeLease(dir.path() / "lease", kShort);
  auto holder = SpawnSleeper(first->get());
  first->Reset();
  EXPECT_FALSE(TakeLease(dir.path() / "lease", kShort)) << "not noted, so not ended";
  ASSERT_TRUE(holder.Kill(SIGKILL));
  EXPECT_TRUE(TakeLease(dir.path() / "lease", kLong));
}

TEST(Lease, NeverEndsAProcessThatOnlyHasTheSamePid) {
  const base::TempDir dir;
  auto bystander = SpawnSleeper(-1);
  const auto first = TakeLease(dir.path() / "lease", kShort);
  ASSERT_TRUE(first);
  ASSERT_TRUE(
      base::WriteFileDurably(dir.path() / "other", std::to_string(bystander.pid()) + " 1\n", 0600));
  const auto text = base::ReadFile(dir.path() / "other", 100);
  ASSERT_EQ(pwrite(first->get(), text->data(), text->size(), 0),
            static_cast<ssize_t>(text->size()));
  EXPECT_FALSE(TakeLease(dir.path() / "lease", kShort));
  const auto status = bystander.Wait(std::chrono::milliseconds(0));
  ASSERT_TRUE(status);
  EXPECT_FALSE(*status) << "it was ended";
}

TEST(Lease, IgnoresANoteThatSaysNothing) {
  const base::TempDir dir;
  for (const std::string note : {"", "garbage", "1 1", "-5 3", "99999999999999999999 1"}) {
    const auto first = TakeLease(dir.path() / "lease", kShort);
    ASSERT_TRUE(first);
    ASSERT_EQ(ftruncate(first->get(), 0), 0);
    ASSERT_EQ(pwrite(first->get(), note.data(), note.size(), 0), static_cast<ssize_t>(note.size()));
    EXPECT_FALSE(TakeLease(dir.path() / "lease", kShort)) << note;
  }
}

TEST(Lease, FollowsNoSymbolicLink) {
  const base::TempDir dir;
  ASSERT_EQ(symlink("/etc/hostname", (dir.path() / "lease").c_str()), 0);
  EXPECT_FALSE(TakeLease(dir.path() / "lease", kShort));
}

}  // namespace
}  // namespace gantry::supervise
