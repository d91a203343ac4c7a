// SPDX-License-Identifier: Apache-2.0
// Provenance against the kernel's own sysfs, with a loop device of the test's own.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "host/base/temp_dir.hpp"
#include "host/services/mounts.hpp"
#include "host/services/provenance.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using base::Code;
using ::testing::HasSubstr;

constexpr off_t kDiskBytes = 8 << 20;

// A free loop device over a file, detached with the object.
class LoopDevice {
 public:
  explicit LoopDevice(const fs::path& file) {
    const base::UniqueFd backing(open(file.c_str(), O_RDWR | O_CLOEXEC));
    const base::UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    constexpr int kTriesMax = 32;  // others look for free ones too
    for (int i = 0; i < kTriesMax; ++i) {
      const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
      path_ = "/dev/loop" + std::to_string(number);
      fd_.Reset(open(path_.c_str(), O_RDWR | O_CLOEXEC));
      loop_config config{};
      config.fd = static_cast<uint32_t>(backing.get());
      const std::string name = file.string();
      std::memcpy(config.info.lo_file_name, name.data(), std::min<size_t>(name.size(), 63));
      if (fd_ && ioctl(fd_.get(), LOOP_CONFIGURE, &config) == 0) return;
      if (errno != EBUSY) break;
    }
    throw std::runtime_error("no loop device: " + std::string(std::strerror(errno)));
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() { ioctl(fd_.get(), LOOP_CLR_FD); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  base::UniqueFd fd_;
};

class ProvenanceLoopTest : public ::testing::Test {
 protected:
  ProvenanceLoopTest() {
    const base::UniqueFd fd(open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd || ftruncate(fd.get(), kDiskBytes) != 0) throw std::runtime_error("make a disk");
  }
  base::TempDir temp_;
  const fs::path file_ = fs::canonical(temp_.path()) / "disk.img";
  const DeviceFiles files_;
  const Provenance provenance_{files_};
};

TEST_F(ProvenanceLoopTest, ALoopDeviceIsProvenByItsFileAndHeldUntilItIsLetGo) {
  const LoopDevice loop(file_);
  {
    const auto proven = provenance_.Prove(loop.path(), LoopIdentity{file_});
    ASSERT_TRUE(proven) << proven.error().message;
    EXPECT_EQ("/dev/" + proven->name, loop.path());
    EXPECT_EQ(proven->bytes, static_cast<uint64_t>(kDiskBytes));
    const auto again = provenance_.Prove(loop.path(), LoopIdentity{file_});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::kFailedPrecondition);
  }
  EXPECT_TRUE(provenance_.Prove(loop.path(), LoopIdentity{file_}));
}

TEST_F(ProvenanceLoopTest, ALoopDeviceIsFoundByItsFileAlsoWhileItIsHeld) {
  EXPECT_TRUE(provenance_.FindAll(LoopIdentity{file_})->empty());
  const LoopDevice loop(file_);
  const auto held = provenance_.Prove(loop.path(), LoopIdentity{file_});
  ASSERT_TRUE(held) << held.error().message;
  const auto found = provenance_.FindAll(LoopIdentity{file_});
  ASSERT_TRUE(found && found->size() == 1U);
  EXPECT_EQ("/dev/" + found->front().name, loop.path());
  EXPECT_EQ(found->front().number, held->number);
  EXPECT_FALSE(found->front().is_map);
  EXPECT_TRUE(provenance_.Recognize(loop.path(), LoopIdentity{file_}));
  const auto other = provenance_.Recognize(loop.path(), LoopIdentity{temp_.path() / "other.img"});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::kPermissionDenied);
  EXPECT_EQ(provenance_.Recognize("/etc/passwd", LoopIdentity{file_}).error().code,
            Code::kInvalidArgument);
}

TEST_F(ProvenanceLoopTest, AnotherFileOrOneInItsPlaceIsRefused) {
  const LoopDevice loop(file_);
  const auto other = provenance_.Prove(loop.path(), LoopIdentity{temp_.path() / "other.img"});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::kPermissionDenied);
  EXPECT_THAT(other.error().message, HasSubstr(file_.string()));
  // The same name, and another file behind it.
  const base::TempDir elsewhere;
  std::ofstream(elsewhere.path() / "disk.img") << "x";
  ASSERT_EQ(mount(elsewhere.path().c_str(), temp_.path().c_str(), nullptr, MS_BIND, nullptr), 0);
  const auto replaced = provenance_.Prove(loop.path(), LoopIdentity{file_});
  EXPECT_EQ(umount2(temp_.path().c_str(), MNT_DETACH), 0);
  ASSERT_FALSE(replaced);
  EXPECT_EQ(replaced.error().code, Code::kPermissionDenied);
  EXPECT_THAT(replaced.error().message, HasSubstr("is not any more"));
  fs::remove(file_);
  const auto deleted = provenance_.Prove(loop.path(), LoopIdentity{file_});
  ASSERT_FALSE(deleted);
  EXPECT_THAT(deleted.error().message, HasSubstr("(deleted)"));
}

TEST_F(ProvenanceLoopTest, TheDisksOfThisMachineAreRefused) {
  size_t disks = 0;
  for (const auto& entry : fs::directory_iterator("/sys/block")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("loop")) continue;
    const std::string device = "/dev/" + name;
    if (!fs::is_block_file(device)) continue;
    ++disks;
    for (const DeviceIdentity& identity : {DeviceIdentity(LoopIdentity{file_}),
                                           DeviceIdentity(IscsiIdentity{"iqn.x:y", 0, "naa"})}) {
      const auto proven = provenance_.Prove(device, identity);
      ASSERT_FALSE(proven) << device;
      EXPECT_EQ(proven.error().code, Code::kPermissionDenied) << proven.error().message;
    }
  }
  RecordProperty("disks", std::to_string(disks));
}

TEST_F(ProvenanceLoopTest, WhatIsNoBlockDeviceIsRefused) {
  EXPECT_EQ(provenance_.Prove("/dev/null", LoopIdentity{file_}).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(provenance_.Prove("/dev/gantry-none", LoopIdentity{file_}).error().code,
            Code::kNotFound);
}

}  // namespace
}  // namespace gantry::services
