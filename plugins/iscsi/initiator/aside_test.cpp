// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/aside.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "host/base/temp_dir.hpp"
#include "plugins/common/unique_fd.hpp"

namespace gantry::iscsi::initiator {
namespace {

using ::testing::HasSubstr;
namespace code = plugin::code;
using plugin::Fail;
using plugin::Result;

TimePoint In(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }
constexpr std::chrono::milliseconds kSoonMs{100};
constexpr std::chrono::milliseconds kLongMs{60'000};

TEST(Aside, GivesBackWhatTheWorkFound) {
  const auto found =
      Aside(In(kLongMs), "sda", []() -> Result<uint64_t> { return uint64_t{1} << 40; });
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, uint64_t{1} << 40);
}

TEST(Aside, GivesBackCodeAndMessageOfAFailure) {
  const auto failed = AsideStatus(In(kLongMs), "sda", []() -> plugin::Status {
    return Fail(code::kFailedPrecondition, "sda is another disk");
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kFailedPrecondition);
  EXPECT_EQ(failed.error().message, "sda is another disk");
}

TEST(Aside, IsNotWaitedForBeyondItsDeadline) {
  const auto late = Aside(In(kSoonMs), "sda", []() -> Result<uint64_t> {
    for (;;) pause();
  });
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, code::kUnavailable);
  EXPECT_THAT(late.error().message, HasSubstr("sda does not answer"));
}

TEST(Aside, ADeathIsAnError) {
  const auto died = Aside(In(kLongMs), "sda", []() -> Result<uint64_t> {
    raise(SIGKILL);
    return uint64_t{0};
  });
  ASSERT_FALSE(died);
  EXPECT_EQ(died.error().code, code::kUnavailable);
}

// A child that is left keeps nobody from the target.
TEST(Aside, DoesNotKeepTheLock) {
  const base::TempDir directory;
  const std::string file = directory.path() / "lock";
  plugin::UniqueFd lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  // Beyond the numbers that the child gives new files.
  constexpr int kFarFd = 10;
  lock.Reset(fcntl(lock.get(), F_DUPFD_CLOEXEC, kFarFd));
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  const auto done = AsideStatus(In(kLongMs), "sda", [&]() -> plugin::Status {
    std::error_code ignored;
    for (const auto& open_file : std::filesystem::directory_iterator("/proc/self/fd"))
      if (std::filesystem::read_symlink(open_file, ignored) == file)
        return Fail(code::kInternal, "it has the lock");
    return {};
  });
  EXPECT_TRUE(done) << done.error().message;
}

}  // namespace
}  // namespace gantry::iscsi::initiator
