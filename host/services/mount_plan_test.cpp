// SPDX-License-Identifier: Apache-2.0
#include "host/services/mount_plan.hpp"

#include <gantry/host.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

namespace gantry::services {
namespace {

using base::Code;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class MountPlanTest : public ::testing::Test {
 protected:
  MountPlanTest() {
    grants_.fs_types = {"nfs*", "tmpfs", "ceph", "cifs"};
    grants_.servers = {"10.0.*", "fd00::/16", "*.example"};
    grants_.mount_options = {"vers=*", "hard", "addr=*", "mon_addr=*"};
    grants_.userspace = true;
    mount_.backend = "fast";
    mount_.volume_id = "fast:v1";
    Set("nfs4", "10.0.0.1:/export/v1");
  }
  void Set(const std::string& fs_type, const std::string& source) {
    mount_.source.Clear();
    mount_.source.set_kind(GANTRY_SOURCE_FILESYSTEM);
    mount_.source.set_fs_type(fs_type);
    mount_.source.set_source(source);
  }
  void ExpectRefused(Code code, const std::string& text) {
    const auto plan = PlanFilesystem(mount_, grants_, kernel_);
    ASSERT_FALSE(plan);
    EXPECT_EQ(base::CodeName(plan.error().code), base::CodeName(code)) << plan.error().message;
    EXPECT_THAT(plan.error().message, HasSubstr(text));
  }
  core::StageMount mount_;
  core::Grants grants_;
  KernelFeatures kernel_;
};

TEST_F(MountPlanTest, SplitsWhatIsAboutTheMountFromWhatIsTheFilesystems) {
  mount_.source.add_options("vers=4.1");
  mount_.mount_flags = {"noatime,noexec", "hard", "_netdev", "x-note=y", "rw", "sync"};
  const auto plan = PlanFilesystem(mount_, grants_, kernel_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->options, ElementsAre("vers=4.1", "hard", "sync"));
  EXPECT_EQ(plan->attributes, static_cast<uint64_t>(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                                    MOUNT_ATTR_NOATIME | MOUNT_ATTR_NOEXEC));
  EXPECT_FALSE(plan->readonly);
}

TEST_F(MountPlanTest, TheLastWordAboutAccessTimesCounts) {
  mount_.mount_flags = {"noatime", "strictatime"};
  EXPECT_EQ(PlanFilesystem(mount_, grants_, kernel_)->attributes & MOUNT_ATTR__ATIME,
            static_cast<uint64_t>(MOUNT_ATTR_STRICTATIME));
  mount_.mount_flags = {"noatime", "relatime"};
  EXPECT_EQ(PlanFilesystem(mount_, grants_, kernel_)->attributes & MOUNT_ATTR__ATIME, 0U);
}

TEST_F(MountPlanTest, ReadOnlyComesFromEitherSideAndNothingTakesItBack) {
  mount_.mount_flags = {"ro"};
  EXPECT_TRUE(PlanFilesystem(mount_, grants_, kernel_)->readonly);
  mount_.mount_flags = {"rw"};
  mount_.readonly = true;
  const auto plan = PlanFilesystem(mount_, grants_, kernel_);
  EXPECT_TRUE(plan->readonly);
  EXPECT_NE(plan->attributes & MOUNT_ATTR_RDONLY, 0U);
  EXPECT_THAT(plan->options, ElementsAre("ro"));
}

TEST_F(MountPlanTest, NoGrantAllowsSuidDevicesOrOtherOperations) {
  for (const char* flag : {"suid", "dev", "remount", "bind", "rbind", "move", "rshared"}) {
    grants_.mount_options = {"hard", flag};
    mount_.mount_flags = {flag};
    ExpectRefused(Code::kInvalidArgument, flag);
    mount_.mount_flags = {std::string("hard,") + flag};
    ExpectRefused(Code::kInvalidArgument, flag);
  }
}

TEST_F(MountPlanTest, RefusalsNameTheMissingGrantAndNeverAValue) {
  mount_.mount_flags = {"password=hunter2"};
  ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.mount_options");
  EXPECT_THAT(PlanFilesystem(mount_, grants_, kernel_).error().message, HasSubstr("password="));
  EXPECT_THAT(PlanFilesystem(mount_, grants_, kernel_).error().message, Not(HasSubstr("hunter2")));
  mount_.mount_flags.clear();
  Set("overlay", "x");
  ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.fs_types");
  Set("nfs4", "192.168.0.1:/export");
  ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.servers");
}

TEST_F(MountPlanTest, WithoutGrantsNothingIsMounted) {
  grants_ = {};
  ExpectRefused(Code::kPermissionDenied, "fs_types");
  EXPECT_EQ(PlanUserspace(mount_, grants_, kernel_).error().code, Code::kPermissionDenied);
}

TEST_F(MountPlanTest, FindsTheServerInEverySpelling) {
  for (const auto& [fs_type, source] :
       std::vector<std::pair<std::string, std::string>>{{"nfs", "10.0.0.1:/x"},
                                                        {"nfs4", "[fd00::1]:/x"},
                                                        {"nfs4", "a.example:/"},
                                                        {"cifs", "//a.example/share"},
                                                        {"ceph", "10.0.0.1:6789,10.0.0.2:/x"},
                                                        {"ceph", "[fd00::1]:6789:/x"},
                                                        {"tmpfs", "anything"}}) {
    Set(fs_type, source);
    const auto plan = PlanFilesystem(mount_, grants_, kernel_);
    EXPECT_TRUE(plan) << source << ": " << plan.error().message;
  }
  for (const auto& [fs_type, source] :
       std::vector<std::pair<std::string, std::string>>{{"nfs", "evil:/10.0.0.1:/x"},
                                                        {"cifs", "//evil/a.example"},
                                                        {"ceph", "10.0.0.1,evil:/x"}}) {
    Set(fs_type, source);
    ExpectRefused(Code::kPermissionDenied, "\"evil\"");
  }
}

TEST_F(MountPlanTest, AnOptionThatRedirectsTheClientIsJudgedAsAServer) {
  mount_.source.add_options("addr=192.168.0.1");
  ExpectRefused(Code::kPermissionDenied, "192.168.0.1");
  Set("ceph", "user@fsid.fs=/x");
  mount_.source.add_options("mon_addr=10.0.0.1:6789/192.168.0.9:6789");
  ExpectRefused(Code::kPermissionDenied, "\"192.168.0.9\"");
}

TEST_F(MountPlanTest, AnExportOfAGrantedServerIsNotAnother) {
  grants_.servers = {};
  grants_.exports = {"nas.example:/vol/fast", "10.0.0.1:/", "mon:/volumes/fast"};
  for (const auto& [fs_type, source] :
       std::vector<std::pair<std::string, std::string>>{{"nfs4", "nas.example:/vol/fast"},
                                                        {"nfs4", "nas.example:/vol/fast/pvc-1"},
                                                        {"nfs", "10.0.0.1:/any"},
                                                        {"ceph", "mon:6789:/volumes/fast/x"},
                                                        {"cifs", "//nas.example/vol/fast"}}) {
    Set(fs_type, source);
    const auto plan = PlanFilesystem(mount_, grants_, kernel_);
    EXPECT_TRUE(plan) << source << ": " << plan.error().message;
  }
  for (const auto& [fs_type, source] :
       std::vector<std::pair<std::string, std::string>>{{"nfs4", "nas.example:/vol/slow"},
                                                        {"nfs4", "nas.example:/vol/faster"},
                                                        {"nfs4", "nas.example:/vol/fast/../slow"},
                                                        {"nfs4", "nas.example:/vol"},
                                                        {"nfs4", "nas.example:/x:/vol/fast"},
                                                        {"ceph", "mon:6789:/volumes/slow"},
                                                        {"cifs", "//nas.example/vol"}}) {
    Set(fs_type, source);
    ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.exports");
  }
  Set("nfs4", "10.0.0.1:/vol/slow");
  mount_.source.add_options("addr=10.0.0.2");
  ExpectRefused(Code::kPermissionDenied, "\"10.0.0.2\"");
  grants_.exports.push_back("10.0.0.2:/vol/fast");
  ExpectRefused(Code::kPermissionDenied, "directory \"/vol/slow\" of server \"10.0.0.2\"");
  Set("ceph", "user@fsid.fs=/volumes/slow");
  mount_.source.add_options("mon_addr=mon:6789");
  ExpectRefused(Code::kPermissionDenied, "/volumes/slow");
}

TEST_F(MountPlanTest, ASourceThatNamesNoServerIsRefused) {
  for (const auto& [fs_type, source] : std::vector<std::pair<std::string, std::string>>{
           {"nfs", "/dev/sda"}, {"ceph", "user@fsid.fs=/x"}, {"cifs", "share"}}) {
    Set(fs_type, source);
    ExpectRefused(Code::kInvalidArgument, "names a server");
  }
  grants_.fs_types = {"*", "ext4"};
  grants_.servers = {"*"};
  Set("ext4", "/dev/sda");
  ExpectRefused(Code::kInvalidArgument, "names a server");
}

TEST_F(MountPlanTest, AWildcardGrantsOnlyFilesystemsWhoseSourcesAreUnderstood) {
  grants_.fs_types = {"*"};
  grants_.servers = {"*"};
  for (const char* type : {"proc", "sysfs", "overlay", "debugfs", "cgroup2", "bpf", "9p", "ext4"}) {
    Set(type, "10.0.0.1:/x");
    ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.fs_types");
  }
  grants_.fs_types.push_back("9p");
  Set("9p", "10.0.0.1:/x");
  EXPECT_TRUE(PlanFilesystem(mount_, grants_, kernel_));
}

TEST_F(MountPlanTest, AServerThatOnlyLooksLikeAGrantedOneIsRefused) {
  for (const char* source : {"10.0.0.1.evil.org:/x", "a.example.evil.org:/x", "evil.org:/a.example",
                             "10.0.evil:/x", "[fe80::1]:/x", "a.b.example:/x"}) {
    Set("nfs4", source);
    ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.servers");
  }
  for (const char* source :
       {"[fd00::1]evil.org:/x", "[fd00::1:/x", "a.example,evil.org:/x", "a.example evil:/x",
        "0x0a000001:/x", "10.1:/x", "fe80::1%eth0:/x", "user@a.example:/x"}) {
    Set("nfs4", source);
    ExpectRefused(Code::kInvalidArgument, "expected a host name or an address");
  }
  Set("nfs4", "[FD00:0::1]:/x");
  EXPECT_TRUE(PlanFilesystem(mount_, grants_, kernel_));
}

TEST_F(MountPlanTest, ControlCharactersAreRefusedWhereverTheyAre) {
  Set("nfs4", std::string("10.0.0.1:/x\0/y", 14));
  ExpectRefused(Code::kInvalidArgument, "control characters");
  Set("nfs4", "10.0.0.1:/x\nevil");
  ExpectRefused(Code::kInvalidArgument, "control characters");
  Set("nfs4\n", "10.0.0.1:/x");
  ExpectRefused(Code::kInvalidArgument, "control characters");
  Set("nfs4", "10.0.0.1:/x");
  for (const std::string& option :
       {std::string("vers=4\nsuid"), std::string("vers=4\0x", 8), std::string("ha\trd")}) {
    mount_.source.clear_options();
    mount_.source.add_options(option);
    ExpectRefused(Code::kInvalidArgument, "control characters");
  }
}

TEST_F(MountPlanTest, ACommaStartsAnotherOptionThatIsJudgedByItself) {
  mount_.source.add_options("vers=4.1,suid");
  ExpectRefused(Code::kInvalidArgument, "\"suid\"");
  mount_.source.clear_options();
  mount_.source.add_options("vers=4.1,addr=192.168.0.1");
  ExpectRefused(Code::kPermissionDenied, "192.168.0.1");
  mount_.source.clear_options();
  mount_.source.add_options("vers=4.1,krb5");
  ExpectRefused(Code::kPermissionDenied, "\"krb5\"");
}

TEST_F(MountPlanTest, NoOptionReplacesTheSource) {
  for (const char* key : {"source", "unc", "device", "target"}) {
    grants_.mount_options = {std::string(key) + "=*"};
    mount_.source.clear_options();
    mount_.source.add_options(std::string(key) + "=evil");
    ExpectRefused(Code::kInvalidArgument, key);
  }
}

TEST_F(MountPlanTest, AGrantedValueDoesNotGrantAPath) {
  grants_.mount_options = {"secretfile=*"};
  mount_.source.add_options("secretfile=/etc/shadow");
  ExpectRefused(Code::kPermissionDenied, "secretfile=...");
  grants_.mount_options = {"secretfile=/etc/ceph/*"};
  ExpectRefused(Code::kPermissionDenied, "secretfile=...");
  mount_.source.set_options(0, "secretfile=/etc/ceph/../shadow");
  ExpectRefused(Code::kPermissionDenied, "secretfile=...");
  mount_.source.set_options(0, "secretfile=/etc/ceph/key");
  EXPECT_TRUE(PlanFilesystem(mount_, grants_, kernel_));
}

TEST_F(MountPlanTest, FuseIsNoKernelFilesystemHere) {
  grants_.fs_types = {"*"};
  for (const char* type : {"fuse", "fuseblk", "fuse.sshfs"}) {
    Set(type, "10.0.0.1:/x");
    ExpectRefused(Code::kInvalidArgument, "USERSPACE");
  }
}

TEST_F(MountPlanTest, AnotherFilesystemThanAskedForIsRefused) {
  mount_.fs_type = "ext4";
  ExpectRefused(Code::kInvalidArgument, "fs_type: \"ext4\"");
  mount_.fs_type = "nfs4";
  EXPECT_TRUE(PlanFilesystem(mount_, grants_, kernel_));
}

TEST_F(MountPlanTest, TheMountGroupIsADecimalNumber) {
  mount_.mount_group = "1000";
  EXPECT_EQ(PlanFilesystem(mount_, grants_, kernel_)->group, 1000U);
  for (const char* group : {"-1", "users", "1000 ", "4294967295", "99999999999", "0x10"}) {
    mount_.mount_group = group;
    ExpectRefused(Code::kInvalidArgument, "volume_mount_group");
  }
}

TEST_F(MountPlanTest, LimitsOptions) {
  mount_.mount_flags = {"vers=" + std::string(255, 'x')};
  EXPECT_TRUE(PlanFilesystem(mount_, grants_, kernel_));
  mount_.mount_flags = {"vers=" + std::string(256, 'x')};
  ExpectRefused(Code::kInvalidArgument, "255 bytes");
  mount_.mount_flags.assign(200, "hard");
  ExpectRefused(Code::kInvalidArgument, "at most 128");
  mount_.mount_flags = {"=x"};
  ExpectRefused(Code::kInvalidArgument, "without a name");
}

TEST_F(MountPlanTest, AUserspaceVolumesOwnOptionsReachNoKernelCode) {
  mount_.mount_flags = {"nfsvers=3", "noatime", "fd=0", "ro"};
  const auto plan = PlanUserspace(mount_, grants_, kernel_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->options, ElementsAre("ro"));
  EXPECT_EQ(plan->source, "fast:v1");
  EXPECT_NE(plan->attributes & MOUNT_ATTR_NOATIME, 0U);
  mount_.mount_flags = {"suid"};
  EXPECT_EQ(PlanUserspace(mount_, grants_, kernel_).error().code, Code::kInvalidArgument);
}

TEST_F(MountPlanTest, PlainNfsOptionsNeedNoGrantAndOnlyOfNfs) {
  grants_.mount_options.clear();
  mount_.source.add_options("nosharecache");
  mount_.mount_flags = {"nfsvers=4.1,hard", "timeo=600", "nconnect=4"};
  const auto plan = PlanFilesystem(mount_, grants_, kernel_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->options,
              ElementsAre("nosharecache", "nfsvers=4.1", "hard", "timeo=600", "nconnect=4"));
  for (const char* flag : {"fsc", "sec=krb5p", "clientaddr=10.0.0.9", "timeo=x"}) {
    mount_.mount_flags = {flag};
    ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.mount_options");
  }
  Set("cifs", "//a.example/share");
  mount_.mount_flags = {"hard"};
  ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.mount_options");
}

TEST_F(MountPlanTest, ALabelOfTheCosReachesTheKernelWithoutItsQuotes) {
  constexpr const char* kLabel = "context=\"system_u:object_r:container_file_t:s0:c1,c2\"";
  grants_.mount_options.clear();
  mount_.mount_flags = {"noexec", kLabel};
  for (const bool userspace : {false, true}) {
    const auto judge = [&] {
      return userspace ? PlanUserspace(mount_, grants_, kernel_)
                       : PlanFilesystem(mount_, grants_, kernel_);
    };
    kernel_.selinux = false;
    const auto without = judge();
    ASSERT_FALSE(without);
    EXPECT_EQ(without.error().code, Code::kInvalidArgument);
    EXPECT_THAT(without.error().message, HasSubstr("no SELinux"));
    kernel_.selinux = true;
    const auto plan = judge();
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_THAT(plan->options, ElementsAre("context=system_u:object_r:container_file_t:s0:c1,c2"));
  }
}

TEST_F(MountPlanTest, ALabelOfThePluginsNeedsAGrant) {
  kernel_.selinux = true;
  mount_.source.add_options("context=a:b:c:s0");
  ExpectRefused(Code::kPermissionDenied, "backends.fast.grants.mount_options");
}

TEST_F(MountPlanTest, ADeviceIsMountedAsTheVolumeAsksAndNoOtherwise) {
  grants_.block.fs_types = {"ext4", "xfs"};
  mount_.mount_flags = {"noatime,nodev", "hard", "discard", "suid"};
  const auto plan = PlanDevice(mount_, "ext4", grants_, kernel_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->options, ElementsAre("hard", "discard"));
  EXPECT_EQ(plan->attributes, static_cast<uint64_t>(MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME));
  EXPECT_THAT(PlanDevice(mount_, "xfs", grants_, kernel_)->options,
              ElementsAre("hard", "discard", "nouuid"));
  const auto refused = PlanDevice(mount_, "btrfs", grants_, kernel_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("grants.block.fs_types"));
}

TEST_F(MountPlanTest, ADeviceThatIsOnlyReadIsNotEvenRecovered) {
  grants_.block.fs_types = {"ext4", "xfs", "btrfs"};
  mount_.readonly = true;
  EXPECT_THAT(PlanDevice(mount_, "ext4", grants_, kernel_)->options, ElementsAre("ro", "noload"));
  EXPECT_THAT(PlanDevice(mount_, "xfs", grants_, kernel_)->options,
              ElementsAre("nouuid", "ro", "norecovery"));
  EXPECT_THAT(PlanDevice(mount_, "btrfs", grants_, kernel_)->options,
              ElementsAre("ro", "rescue=nologreplay"));
}

TEST_F(MountPlanTest, NoOptionBringsAnotherDeviceAlong) {
  grants_.block.fs_types = {"xfs"};
  grants_.mount_options = {"logdev=*"};
  mount_.mount_flags = {"logdev=sda"};
  const auto plan = PlanDevice(mount_, "xfs", grants_, kernel_);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, Code::kInvalidArgument);
}

TEST_F(MountPlanTest, OptionsOfMkfsAreGrantedAsSequences) {
  grants_.block.mkfs_options = {{"-m", "{number:0-10}"}, {"-O", "^has_journal"}};
  mount_.mkfs_options = "  -O ^has_journal   -m 5 ";
  const auto words = PlanMkfsOptions(mount_, grants_);
  ASSERT_TRUE(words) << words.error().message;
  EXPECT_THAT(*words, ElementsAre("-O", "^has_journal", "-m", "5"));
  for (const std::string options : {"-m", "-m 11", "5", "-m 5 /dev/sda", "-O has_journal"}) {
    mount_.mkfs_options = options;
    const auto refused = PlanMkfsOptions(mount_, grants_);
    ASSERT_FALSE(refused) << options;
    EXPECT_THAT(refused.error().message, HasSubstr("grants.block.mkfs_options"));
  }
  mount_.mkfs_options = "";
  EXPECT_TRUE(PlanMkfsOptions(mount_, grants_)->empty());
}

}  // namespace
}  // namespace gantry::services
