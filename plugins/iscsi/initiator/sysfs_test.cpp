// SPDX-License-Identifier: Apache-2.0
// Over files laid out as Linux 6.1 has them.
#include "plugins/iscsi/initiator/sysfs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "host/base/temp_dir.hpp"
#include "plugins/iscsi/initiator/recovery_times.hpp"

namespace gantry::iscsi::initiator {
namespace {

namespace fs = std::filesystem;
using ::testing::SizeIs;

class SysfsTest : public ::testing::Test {
 protected:
  void Put(const fs::path& file, const std::string& text) const {
    fs::create_directories((top_ / file).parent_path());
    std::ofstream(top_ / file) << text << "\n";
  }
  std::string Get(const fs::path& file) const {
    std::ifstream in(top_ / file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void AddSession(int number, const std::string& target, const std::string& state = "LOGGED_IN") {
    const std::string n = std::to_string(number);
    const fs::path place = "devices/platform/host" + n + "/session" + n;
    const fs::path facts = place / "iscsi_session" / ("session" + n);
    Put(facts / "targetname", target);
    Put(facts / "initiatorname", "iqn.me");
    Put(facts / "ifacename", "gantry.1");
    Put(facts / "state", state);
    Put(facts / "target_id", "0");
    Put(facts / "recovery_tmo", "120");
    const fs::path connection = "connection" + n + ":0";
    Put(place / connection / "iscsi_connection" / connection / "persistent_address", "127.0.0.1");
    Put(place / connection / "iscsi_connection" / connection / "persistent_port", "3260");
    Put("class/scsi_host/host" + n + "/scan", "");
    fs::create_symlink(top_ / place, top_ / facts / "device");
    fs::create_directories(top_ / "class/iscsi_session");
    fs::create_symlink(top_ / facts, top_ / "class/iscsi_session" / ("session" + n));
  }
  void AddDisk(int session, int lun, const std::string& name, const std::string& wwid) {
    const std::string n = std::to_string(session);
    const fs::path place = "devices/platform/host" + n + "/session" + n + "/target" + n + ":0:0/" +
                           n + ":0:0:" + std::to_string(lun);
    Put(place / "wwid", wwid);
    Put(place / "block" / name / "size", "2048");
  }

  base::TempDir directory_;
  const fs::path top_ = directory_.path();
  const Sysfs sysfs_{top_};
};

TEST_F(SysfsTest, OnlySessionsOfTheTargetUnderTheNameAreFound) {
  AddSession(3, "iqn.a");
  AddSession(10, "iqn.a", "FAILED");
  AddSession(4, "iqn.b");
  const auto sessions = sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1");
  ASSERT_THAT(sessions, SizeIs(2));
  EXPECT_EQ(sessions[0].id, "3");
  EXPECT_TRUE(sessions[0].is_up);
  EXPECT_EQ(sessions[0].portal, (target::Portal{"127.0.0.1", 3260}));
  EXPECT_FALSE(sessions[1].is_up);
  EXPECT_THAT(sysfs_.Sessions("iqn.a", "iqn.other", "gantry.1"), SizeIs(0));
  EXPECT_THAT(sysfs_.Sessions("iqn.a", "iqn.me", "default"), SizeIs(0));
}

TEST_F(SysfsTest, DisksAreCountedByTheirLun) {
  AddSession(3, "iqn.a");
  AddDisk(3, 7, "sdb", "naa.6001 ");
  auto session = sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1").at(0);
  const Disk* disk = session.Find(7);
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->name, "sdb");
  EXPECT_EQ(disk->wwid, "naa.6001");
  EXPECT_EQ(disk->size_bytes, 2048 * 512);
  EXPECT_EQ(session.Find(1), nullptr);
  EXPECT_FALSE(session.HasOthersThan(7));
  AddDisk(3, 8, "sdc", "naa.6002");
  EXPECT_TRUE(sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1").at(0).HasOthersThan(7));
  EXPECT_EQ(sysfs_.Look(session, 8)->name, "sdc");
}

TEST_F(SysfsTest, OneLunAloneIsLookedFor) {
  AddSession(3, "iqn.a");
  const auto session = sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1").at(0);
  ASSERT_TRUE(sysfs_.Scan(session, 300));
  EXPECT_EQ(Get("class/scsi_host/host3/scan"), "0 0 300");
  ASSERT_TRUE(sysfs_.SetRecoveryTime(session, 5));
  EXPECT_EQ(Get("class/iscsi_session/session3/recovery_tmo").substr(0, 1), "5");
  ASSERT_TRUE(sysfs_.SetRecoveryTime(session, std::nullopt));
  EXPECT_EQ(Get("class/iscsi_session/session3/recovery_tmo").substr(0, 3), "off");
}

TEST_F(SysfsTest, ADiskThatTheKernelHasGivenUpSaysSo) {
  AddSession(3, "iqn.a");
  AddDisk(3, 7, "sdb", "naa.6001");
  const auto session = sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1").at(0);
  const Disk disk = *session.Find(7);
  for (const char* state : {"running", "blocked", "quiesce", ""}) {
    std::ofstream(disk.device / "state") << state << "\n";
    EXPECT_EQ(sysfs_.GivenUp(disk), "") << state;
  }
  for (const char* state : {"offline", "transport-offline", "deleted"}) {
    std::ofstream(disk.device / "state") << state << "\n";
    EXPECT_EQ(sysfs_.GivenUp(disk), state);
  }
}

// Whichever way the work ends that had it shortened.
TEST_F(SysfsTest, ARecoveryTimeIsShortenedForAWhileOnly) {
  AddSession(3, "iqn.a");
  AddSession(4, "iqn.a");
  auto sessions = sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1");
  ASSERT_TRUE(sysfs_.SetRecoveryTime(sessions[0], std::nullopt));
  ASSERT_TRUE(sysfs_.SetRecoveryTime(sessions[1], 120));
  {
    RecoveryTimes times(sysfs_);
    for (const auto& session : sessions) {
      times.Shorten(session, 5);
      EXPECT_EQ(sysfs_.RecoveryTime(session).value(), std::optional<uint32_t>(5));
    }
  }
  EXPECT_EQ(sysfs_.RecoveryTime(sessions[0]).value(), std::nullopt);
  EXPECT_EQ(sysfs_.RecoveryTime(sessions[1]).value(), std::optional<uint32_t>(120));
}

TEST_F(SysfsTest, ASessionThatHasGoneHasNoRecoveryTime) {
  AddSession(3, "iqn.a");
  const auto session = sysfs_.Sessions("iqn.a", "iqn.me", "gantry.1").at(0);
  RecoveryTimes times(sysfs_);
  times.Shorten(session, 5);
  fs::remove_all(top_ / "devices");
  EXPECT_FALSE(sysfs_.RecoveryTime(session));
}

TEST_F(SysfsTest, OnlyAMultipathMapIsAMap) {
  Put("block/dm-0/dm/uuid", "LVM-abc");
  Put("block/dm-1/dm/uuid", "mpath-36001");
  Put("block/dm-1/dm/name", "36001");
  Put("block/sdb/holders/dm-0", "");
  EXPECT_FALSE(sysfs_.MapAbove("sdb"));
  Put("block/sdb/holders/dm-1", "");
  EXPECT_EQ(sysfs_.MapAbove("sdb"), "dm-1");
  EXPECT_EQ(sysfs_.MapName("dm-1"), "36001");
}

}  // namespace
}  // namespace gantry::iscsi::initiator
