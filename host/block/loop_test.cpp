// SPDX-License-Identifier: Apache-2.0
#include "host/block/loop.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "host/block/testing.hpp"

namespace gantry::block {
namespace {

using base::Code;

class LoopTest : public ::testing::Test {
 protected:
  LoopTest() : file_(open((temp_.path() / "x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    options_.name = "test-loop:" + temp_.path().filename().string();
    EXPECT_EQ(ftruncate(file_.get(), 8 << 20), 0);
  }
  ~LoopTest() override {
    for (const auto& loop : All()) (void)DetachLoop(loop, Soon());
  }
  LoopSearch Search(LoopSearch::Match match) {
    return {options_.name, [this, match](const std::string& file) {
              return file == (temp_.path() / "x").string() ? match : LoopSearch::Match::kNo;
            }};
  }
  std::vector<Loop> All() { return *FindLoops(Search(LoopSearch::Match::kYes)); }
  std::vector<Loop> Named() { return *FindLoops(Search(LoopSearch::Match::kIfNamed)); }
  size_t Count() { return All().size(); }

  base::TempDir temp_;
  base::UniqueFd file_;
  LoopOptions options_;
};

TEST_F(LoopTest, IsFoundByItsFileAndByItsName) {
  EXPECT_EQ(Count(), 0U);
  const auto loop = AttachLoop(file_.get(), options_);
  ASSERT_TRUE(loop) << loop.error().message;
  EXPECT_EQ(Count(), 1U);
  ASSERT_EQ(Named().size(), 1U);
  EXPECT_EQ(Named()[0].number, loop->number);
  EXPECT_EQ(Named()[0].backing_file, (temp_.path() / "x").string());
  options_.name += "-and-no-longer";
  EXPECT_TRUE(Named().empty());
  ASSERT_TRUE(DetachLoop(*loop, Soon()));
  EXPECT_EQ(Count(), 0U);
  EXPECT_TRUE(DetachLoop(*loop, Soon())) << "gone already";
}

TEST_F(LoopTest, DoesDirectIoAndDoesNotGoByItself) {
  const auto loop = AttachLoop(file_.get(), options_);
  ASSERT_TRUE(loop);
  loop_info64 info{};
  {
    const base::UniqueFd device(open(loop->Path().c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(ioctl(device.get(), LOOP_GET_STATUS64, &info), 0);
  }
  EXPECT_NE(info.lo_flags & LO_FLAGS_DIRECT_IO, 0U);
  EXPECT_EQ(info.lo_flags & LO_FLAGS_AUTOCLEAR, 0U);
  EXPECT_EQ(Count(), 1U);
}

TEST_F(LoopTest, AFileWithoutDirectIoIsRefusedAndNothingIsLeft) {
  const base::TempDir memory;
  ASSERT_EQ(mount("x", memory.path().c_str(), "ramfs", 0, nullptr), 0);
  {
    const base::UniqueFd fd(
        open((memory.path() / "x").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(ftruncate(fd.get(), 8 << 20), 0);
    const auto loop = AttachLoop(fd.get(), options_);
    EXPECT_EQ(loop.has_value() ? Code::kOk : loop.error().code, Code::kFailedPrecondition);
    EXPECT_EQ(Count(), 0U);
  }
  EXPECT_EQ(umount2(memory.path().c_str(), 0), 0);
}

TEST_F(LoopTest, AReadOnlyOneTakesNoWrites) {
  const std::string name = options_.name;
  const auto writable = AttachLoop(file_.get(), options_);
  options_.name = name + ":ro";
  options_.readonly = true;
  const auto readonly = AttachLoop(file_.get(), options_);
  ASSERT_TRUE(writable && readonly);
  EXPECT_NE(writable->number, readonly->number);
  ASSERT_EQ(Named().size(), 1U);
  EXPECT_EQ(Named()[0].number, readonly->number);
  options_.name = name;
  EXPECT_EQ(Named().size(), 2U) << "by the beginning of their names";
  const base::UniqueFd device(open(readonly->Path().c_str(), O_RDWR | O_CLOEXEC));
  const std::string block(4096, 'x');
  EXPECT_FALSE(device && pwrite(device.get(), block.data(), block.size(), 0) >= 0 &&
               fsync(device.get()) == 0);
}

TEST_F(LoopTest, OneInUseIsWaitedForAndThenLeft) {
  const auto loop = AttachLoop(file_.get(), options_);
  ASSERT_TRUE(loop);
  base::UniqueFd user(open(loop->Path().c_str(), O_RDWR | O_CLOEXEC));
  const auto kept =
      DetachLoop(*loop, std::chrono::steady_clock::now() + std::chrono::milliseconds(100));
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, Code::kFailedPrecondition);
  user.Reset();
  EXPECT_TRUE(DetachLoop(*loop, Soon()));
}

TEST_F(LoopTest, AnothersOfThatNumberIsLeftAlone) {
  const auto loop = AttachLoop(file_.get(), options_);
  ASSERT_TRUE(loop);
  Loop strangers = *loop;
  strangers.backing_file = "/somebody/elses";
  EXPECT_TRUE(DetachLoop(strangers, Soon()));
  EXPECT_EQ(Count(), 1U);
}

TEST_F(LoopTest, ANameThatDoesNotFitIsRefused) {
  options_.name = std::string(kLoopNameBytesMax + 1, 'x');
  EXPECT_EQ(AttachLoop(file_.get(), options_).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::block
