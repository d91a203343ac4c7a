// SPDX-License-Identifier: Apache-2.0
// On a sysfs of files, laid out as Linux has it. Real loop devices are in provenance_loop_test.cpp.
#include "host/services/provenance.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <functional>
#include <map>

#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using base::Code;
using ::testing::HasSubstr;

constexpr const char* kIqn = "iqn.2004-10.com.example:disks";
constexpr const char* kWwid = "naa.60014051234";

class FakeFiles final : public DeviceFiles {
 public:
  base::Result<dev_t> Number(const fs::path& device) const override {
    const auto found = numbers.find(device);
    if (found == numbers.end()) return base::Fail(Code::kInvalidArgument, "no block device");
    return found->second;
  }
  base::Result<base::UniqueFd> OpenExclusively(const fs::path&, dev_t) const override {
    ++opened;
    if (on_open) on_open();
    if (held) return base::Fail(Code::kFailedPrecondition, "is held");
    return base::UniqueFd(memfd_create("device", MFD_CLOEXEC));
  }
  base::Result<bool> IsBackedBy(int, const fs::path&) const override { return is_backed; }

  std::map<fs::path, dev_t> numbers;
  std::function<void()> on_open;
  bool held = false;
  bool is_backed = true;
  mutable int opened = 0;
};

class ProvenanceTest : public ::testing::Test {
 protected:
  ProvenanceTest() {
    fs::create_directories(sysfs_ / "dev/block");
    Put(temp_.path() / "mountinfo", "20 1 253:0 / / rw - ext4 /dev/vda rw\n");
    sdb_ = IscsiDisk("sdb", makedev(8, 16), 1, 3, 7);
    loop0_ = Disk("loop0", makedev(7, 0), "devices/virtual/block");
    Put(loop0_ / "loop/backing_file", "/var/lib/gantry/disk.img\n");
    vda_ = Disk("vda", makedev(253, 0), "devices/pci0000:00/virtio1/block");
    iscsi_ = {kIqn, 7, kWwid};
    loop_ = {"/var/lib/gantry/disk.img"};
  }

  static void Put(const fs::path& file, const std::string& text) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  fs::path Disk(const std::string& name, dev_t number, const std::string& below) {
    const fs::path directory = sysfs_ / below / name;
    Put(directory / "size", "2048\n");
    fs::create_directories(directory / "holders");
    fs::create_symlink(directory,
                       sysfs_ / "dev/block" /
                           (std::to_string(major(number)) + ":" + std::to_string(minor(number))));
    files_.numbers["/dev/" + name] = number;
    return directory;
  }
  fs::path IscsiDisk(const std::string& name, dev_t number, int session, int host, int lun) {
    const std::string scsi = std::to_string(host) + ":0:0:" + std::to_string(lun);
    const std::string device = "devices/platform/host" + std::to_string(host) + "/session" +
                               std::to_string(session) + "/target" + std::to_string(host) +
                               ":0:0/" + scsi;
    const fs::path directory = Disk(name, number, device + "/block");
    Put(sysfs_ / device / "wwid", std::string(kWwid) + "   \n");
    fs::create_symlink(sysfs_ / device, directory / "device");
    Put(sysfs_ / "class/iscsi_session" / ("session" + std::to_string(session)) / "targetname",
        std::string(kIqn) + "\n");
    return directory;
  }
  // A multipath map of sdb and sdc.
  fs::path Map() {
    const auto sdc = IscsiDisk("sdc", makedev(8, 32), 2, 4, 7);
    const auto map = Disk("dm-3", makedev(252, 3), "devices/virtual/block");
    Put(map / "dm/uuid", "mpath-360014051234\n");
    fs::create_directories(map / "slaves");
    for (const auto& path : {sdb_, sdc}) {
      fs::create_directory_symlink(path, map / "slaves" / path.filename());
      Put(path / "holders/dm-3", "");
    }
    return map;
  }
  base::Result<ProvenDevice> Prove(const fs::path& device, const DeviceIdentity& identity) {
    return Provenance(files_, {sysfs_, temp_.path() / "mountinfo"}).Prove(device, identity);
  }
  void ExpectRefused(const fs::path& device, const DeviceIdentity& identity, Code code,
                     const std::string& text) {
    const auto proven = Prove(device, identity);
    ASSERT_FALSE(proven) << device;
    EXPECT_EQ(base::CodeName(proven.error().code), base::CodeName(code)) << proven.error().message;
    EXPECT_THAT(proven.error().message, HasSubstr(text));
    EXPECT_THAT(proven.error().message, HasSubstr(device.string()));
  }

  base::TempDir temp_;
  const fs::path sysfs_ = temp_.path() / "sys";
  FakeFiles files_;
  fs::path sdb_;
  fs::path loop0_;
  fs::path vda_;
  IscsiIdentity iscsi_;
  LoopIdentity loop_;
};

TEST_F(ProvenanceTest, AcceptsTheDiskOfTheRecordedSession) {
  const auto proven = Prove("/dev/sdb", iscsi_);
  ASSERT_TRUE(proven) << proven.error().message;
  EXPECT_EQ(proven->name, "sdb");
  EXPECT_EQ(proven->number, makedev(8, 16));
  EXPECT_EQ(proven->bytes, 2048U * 512);
  EXPECT_TRUE(proven->fd);
}

TEST_F(ProvenanceTest, FindsThePathsOfADiskAndTheMapAboveThem) {
  const auto map = Map();
  Put(map / "dev", "252:3\n");
  Put(sdb_ / "dev", "8:16\n");
  Put(vda_ / "dev", "253:0\n");
  fs::create_directories(sysfs_ / "block");
  for (const auto& disk : {map, sdb_, vda_})
    fs::create_directory_symlink(disk, sysfs_ / "block" / disk.filename());
  const Provenance provenance(files_, {sysfs_, temp_.path() / "mountinfo"});
  const auto found = provenance.FindAll(iscsi_);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2U);
  EXPECT_EQ(found->at(0).name, "dm-3");
  EXPECT_TRUE(found->at(0).is_map);
  EXPECT_EQ(found->at(0).number, makedev(252, 3));
  EXPECT_EQ(found->at(1).name, "sdb");
  EXPECT_FALSE(found->at(1).is_map);
  EXPECT_EQ(files_.opened, 0) << "nothing is opened";
}

TEST_F(ProvenanceTest, AcceptsTheLoopDeviceOfTheRecordedFile) {
  const auto proven = Prove("/dev/loop0", loop_);
  ASSERT_TRUE(proven) << proven.error().message;
  EXPECT_EQ(proven->name, "loop0");
}

TEST_F(ProvenanceTest, TheNodesOwnDiskIsNobodysVolumeAndIsNotEvenOpened) {
  ExpectRefused("/dev/vda", iscsi_, Code::kPermissionDenied, "belongs to no iSCSI session");
  ExpectRefused("/dev/vda", loop_, Code::kPermissionDenied, "is no loop device");
  ExpectRefused("/dev/loop0", iscsi_, Code::kPermissionDenied, "belongs to no iSCSI session");
  ExpectRefused("/dev/sdb", loop_, Code::kPermissionDenied, "is no loop device");
  EXPECT_EQ(files_.opened, 0);
}

TEST_F(ProvenanceTest, AnotherTargetLunOrDiskIsRefusedAndNamed) {
  ExpectRefused("/dev/sdb", IscsiIdentity{"iqn.2004-10.com.example:other", 7, kWwid},
                Code::kPermissionDenied, kIqn);
  ExpectRefused("/dev/sdb", IscsiIdentity{kIqn, 8, kWwid}, Code::kPermissionDenied, "LUN 7");
  ExpectRefused("/dev/sdb", IscsiIdentity{kIqn, 7, "naa.other"}, Code::kPermissionDenied, kWwid);
  ExpectRefused("/dev/sdb", IscsiIdentity{kIqn, 7, ""}, Code::kPermissionDenied,
                "a record that names one");
  Put(loop0_ / "loop/backing_file", "/etc/shadow\n");
  ExpectRefused("/dev/loop0", loop_, Code::kPermissionDenied, "/etc/shadow");
}

TEST_F(ProvenanceTest, ALoopDeviceWhoseFileWasReplacedIsRefused) {
  files_.is_backed = false;
  ExpectRefused("/dev/loop0", loop_, Code::kPermissionDenied, "is not any more");
  Put(loop0_ / "loop/backing_file", "/var/lib/gantry/disk.img (deleted)\n");
  ExpectRefused("/dev/loop0", loop_, Code::kPermissionDenied, "(deleted)");
}

TEST_F(ProvenanceTest, WhatSomebodyHoldsIsRefusedWithTheHolder) {
  Put(sdb_ / "holders/dm-0", "");
  ExpectRefused("/dev/sdb", iscsi_, Code::kFailedPrecondition, "held by dm-0");
  fs::remove(sdb_ / "holders/dm-0");
  Put(sdb_ / "sdb1/partition", "1\n");
  ExpectRefused("/dev/sdb", iscsi_, Code::kFailedPrecondition, "partition sdb1");
  fs::remove_all(sdb_ / "sdb1");
  Put(temp_.path() / "mountinfo", "20 1 8:16 / /mnt/x rw - ext4 /dev/sdb rw\n");
  ExpectRefused("/dev/sdb", iscsi_, Code::kFailedPrecondition, "mounted at /mnt/x");
  Put(temp_.path() / "mountinfo", "");
  files_.held = true;
  ExpectRefused("/dev/sdb", iscsi_, Code::kFailedPrecondition, "is held");
}

TEST_F(ProvenanceTest, APartitionIsNoDisk) {
  Disk("sdb1", makedev(8, 17), "devices/platform/host3/session1/target3:0:0/3:0:0:7/block/sdb");
  Put(sysfs_ / "dev/block/8:17/partition", "1\n");
  ExpectRefused("/dev/sdb1", iscsi_, Code::kPermissionDenied, "is a partition");
}

TEST_F(ProvenanceTest, ADiskThatChangesWhileItIsOpenedIsRefused) {
  files_.on_open = [&] {
    Put(sysfs_ / "class/iscsi_session/session1/targetname", "iqn.2004-10.com.example:other\n");
  };
  ExpectRefused("/dev/sdb", iscsi_, Code::kPermissionDenied, "example:other");
}

TEST_F(ProvenanceTest, AcceptsAMultipathMapAllOfWhosePathsAreTheDisks) {
  Map();
  const auto proven = Prove("/dev/dm-3", iscsi_);
  ASSERT_TRUE(proven) << proven.error().message;
  EXPECT_EQ(proven->name, "dm-3");
  // Its paths by themselves are held, by it.
  ExpectRefused("/dev/sdb", iscsi_, Code::kFailedPrecondition, "held by dm-3");
}

TEST_F(ProvenanceTest, AMapWithAStrangerAmongItsPathsIsRefused) {
  const auto map = Map();
  fs::create_directory_symlink(vda_, map / "slaves/vda");
  ExpectRefused("/dev/dm-3", iscsi_, Code::kPermissionDenied, "vda belongs to no iSCSI session");
  fs::remove(map / "slaves/vda");
  Put(sdb_ / "holders/dm-9", "");
  ExpectRefused("/dev/dm-3", iscsi_, Code::kFailedPrecondition, "held by dm-9");
}

TEST_F(ProvenanceTest, AMapOfAnotherKindIsRefused) {
  const auto map = Map();
  Put(map / "dm/uuid", "LVM-abc\n");
  ExpectRefused("/dev/dm-3", iscsi_, Code::kPermissionDenied, "LVM-abc");
  Put(map / "dm/uuid", "mpath-360014051234\n");
  fs::remove_all(map / "slaves");
  ExpectRefused("/dev/dm-3", iscsi_, Code::kPermissionDenied, "a map of 0 disks");
}

TEST_F(ProvenanceTest, APathThatIsNoneBeneathDevIsRefused) {
  for (const char* path : {"", "sdb", "/etc/passwd", "/dev/../etc/passwd", "/dev//sdb",
                           "/dev/sdb/../sda", "/devil/sdb"}) {
    const auto proven = Prove(path, iscsi_);
    ASSERT_FALSE(proven) << path;
    EXPECT_EQ(proven.error().code, Code::kInvalidArgument) << path;
  }
  EXPECT_EQ(Prove(std::string("/dev/sdb\0x", 10), iscsi_).error().code, Code::kInvalidArgument);
  EXPECT_EQ(Prove("/dev/sdb\n", iscsi_).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::services
