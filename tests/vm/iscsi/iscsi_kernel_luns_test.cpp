// SPDX-License-Identifier: Apache-2.0
// LUNs of an array that does with them what it likes: gantry-initiator alone, without a host.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "host/base/fd.hpp"
#include "tests/vm/iscsi/iscsi_kernel.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
namespace initiator = iscsi::initiator;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class KernelLuns : public KernelIscsi {
 protected:
  static constexpr const char* kTarget = "iqn.2026-01.test.array:shared";
  static constexpr uint64_t kBytes = 64 * kMiB;

  KernelLuns() {
    auto started = lab::Tgt::Start({.addresses = {"127.0.0.1", kSecondAddress}});
    if (!started) throw std::runtime_error(started.error().message);
    tgt_ = std::make_unique<lab::Tgt>(std::move(*started));
    Must(tgt_->NewTarget(1, kTarget));
    Must(tgt_->Allow(1, "ALL"));
  }
  static void Must(const base::Status& status) {
    if (!status) throw std::runtime_error(status.error().message);
  }
  void NewLun(int lun, const std::string& id) {
    lab::TgtLun wanted;
    wanted.lun = lun;
    wanted.id = id;
    wanted.file = id + ".img";
    wanted.size_bytes = kBytes;
    Must(tgt_->NewLun(wanted));
  }
  initiator::Attach Wanted(uint32_t lun, const std::string& identity) const {
    initiator::Attach attach;
    attach.unit = {kTarget, lun, "iqn.2026-01.test:node", identity};
    attach.portals = {{"127.0.0.1", tgt_->port()}};
    attach.size_bytes = kBytes;
    return attach;
  }
  initiator::Attach ByTwoPaths(initiator::Attach wanted) const {
    const std::string& second = tgt_->portals().at(1);
    const auto port = static_cast<uint16_t>(std::stoul(second.substr(second.rfind(':') + 1)));
    wanted.portals.push_back({kSecondAddress, port});
    wanted.multipath = true;
    return wanted;
  }
  // Begun and killed after so many seconds.
  void KillAttach(const initiator::Attach& wanted, const std::string& after) {
    const fs::path line = tgt_->luns() / "request";
    std::ofstream(line) << initiator::EncodeRequest(kPatience, wanted);
    const std::string program =
        std::string(std::getenv("GANTRY_BUILD_DIR")) + "/bin/gantry-initiator";
    (void)Shell("timeout -s KILL " + after + " " + program + " /proc/self <" + line.string() +
                " >/dev/null");
    fs::remove(line);
  }
  // Detached, and what was remarked of it.
  std::string DetachRemark(const initiator::Unit& unit, std::chrono::seconds deadline = kPatience) {
    const auto done = AskInitiator(initiator::Detach{unit}, deadline);
    EXPECT_TRUE(done) << done.error().message;
    EXPECT_THAT(Sessions(), IsEmpty());
    EXPECT_THAT(Disks(), IsEmpty());
    EXPECT_THAT(Maps(), IsEmpty());
    return done ? done->remark : "";
  }
  // What tgtd makes of an id, as the kernel shows it.
  std::string IdentityOf(int lun, const std::string& id) {
    const auto seen = AskInitiator(Wanted(static_cast<uint32_t>(lun), kNobody));
    EXPECT_FALSE(seen);
    const std::string text = seen.error().message;
    const size_t at = text.find("naa.");
    EXPECT_NE(at, std::string::npos) << text << " of " << id;
    return text.substr(at, text.find(':', at) - at);
  }

  static constexpr const char* kNobody = "naa.60000000000000000000000000000000";
  std::unique_ptr<lab::Tgt> tgt_;
};

TEST_F(KernelLuns, ASessionEndsWithItsLastLun) {
  NewLun(1, "aaaa000000000001");
  NewLun(2, "aaaa000000000002");
  const auto one = Wanted(1, IdentityOf(1, "1"));
  const auto two = Wanted(2, IdentityOf(2, "2"));
  EXPECT_NE(one.unit.identity, two.unit.identity);
  EXPECT_THAT(Sessions(), IsEmpty()) << "of what was refused";
  ASSERT_TRUE(AskInitiator(one));
  const auto second = AskInitiator(two);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_THAT(Sessions(), SizeIs(1));
  EXPECT_THAT(Disks(), SizeIs(2));
  RawWriter writer("/dev/" + second->names.at(0));
  ASSERT_TRUE(AskInitiator(initiator::Detach{one.unit}));
  EXPECT_THAT(Sessions(), SizeIs(1));
  EXPECT_THAT(Disks(), SizeIs(1));
  const uint64_t before = writer.written();
  EXPECT_TRUE(Soon([&] { return writer.written() > before + 20; }, kPatience));
  EXPECT_FALSE(writer.failed());
  writer.Stop();
  ASSERT_TRUE(AskInitiator(initiator::Detach{two.unit}));
  EXPECT_THAT(Sessions(), IsEmpty());
}

TEST_F(KernelLuns, ANumberThatIsAnotherDisksByNowIsRefused) {
  NewLun(1, "aaaa000000000001");
  const auto wanted = Wanted(1, IdentityOf(1, "1"));
  ASSERT_TRUE(AskInitiator(wanted));
  ASSERT_TRUE(AskInitiator(initiator::Detach{wanted.unit}));
  Must(tgt_->DeleteLun(1, 1));
  NewLun(1, "bbbb000000000001");
  auto refused = AskInitiator(wanted);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, plugin::code::kFailedPrecondition) << refused.error().message;
  EXPECT_THAT(refused.error().message, HasSubstr("another disk"));
  EXPECT_THAT(Sessions(), IsEmpty());
  EXPECT_THAT(Disks(), IsEmpty());
}

// The kernel still says what it read when it found the disk.
TEST_F(KernelLuns, ADiskThatWasChangedUnderItsSessionIsFoundOut) {
  NewLun(1, "aaaa000000000001");
  const auto wanted = Wanted(1, IdentityOf(1, "1"));
  const auto first = AskInitiator(wanted);
  ASSERT_TRUE(first) << first.error().message;
  Must(tgt_->DeleteLun(1, 1));
  NewLun(1, "bbbb000000000001");
  const auto refused = AskInitiator(wanted);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, plugin::code::kFailedPrecondition) << refused.error().message;
  EXPECT_FALSE(AskInitiator(initiator::Rescan{wanted.unit}));
  // Back again, and the old disk's name is not in the way.
  Must(tgt_->DeleteLun(1, 1));
  NewLun(1, "aaaa000000000001");
  const auto again = AskInitiator(wanted);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE(AskInitiator(initiator::Detach{wanted.unit}));
  EXPECT_THAT(Sessions(), IsEmpty());
  EXPECT_THAT(Disks(), IsEmpty());
}

TEST_F(KernelLuns, ASmallerDiskIsRefusedAndOneInUseIsNotDetached) {
  NewLun(1, "aaaa000000000001");
  auto wanted = Wanted(1, IdentityOf(1, "1"));
  wanted.size_bytes = kBytes + 4096;
  const auto smaller = AskInitiator(wanted);
  ASSERT_FALSE(smaller);
  EXPECT_EQ(smaller.error().code, plugin::code::kFailedPrecondition);
  EXPECT_THAT(Sessions(), IsEmpty());
  wanted.size_bytes = kBytes;
  const auto paths = AskInitiator(wanted);
  ASSERT_TRUE(paths) << paths.error().message;
  {
    base::UniqueFd held(
        open(("/dev/" + paths->names.at(0)).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    ASSERT_TRUE(held);
    const auto refused = AskInitiator(initiator::Detach{wanted.unit});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, plugin::code::kFailedPrecondition);
    EXPECT_THAT(Sessions(), SizeIs(1));
  }
  ASSERT_TRUE(AskInitiator(initiator::Detach{wanted.unit}));
  EXPECT_THAT(Sessions(), IsEmpty());
}

// Written, so that there is a cache to flush.
void Write(const std::string& device) {
  ASSERT_EQ(WriteSynced("/dev/" + device, Pattern(kMiB, 1)), 0);
}

TEST_F(KernelLuns, ADetachedLunNeedsNoRemark) {
  NewLun(1, "aaaa000000000001");
  const auto wanted = Wanted(1, IdentityOf(1, "1"));
  const auto paths = AskInitiator(wanted);
  ASSERT_TRUE(paths) << paths.error().message;
  Write(paths->names.at(0));
  EXPECT_EQ(DetachRemark(wanted.unit), "");
}

// Every flush fails, and would for ever.
TEST_F(KernelLuns, ALunThatTheArrayHasRemovedIsDetached) {
  NewLun(1, "aaaa000000000001");
  const auto wanted = Wanted(1, IdentityOf(1, "1"));
  const auto paths = AskInitiator(wanted);
  ASSERT_TRUE(paths) << paths.error().message;
  Write(paths->names.at(0));
  Must(tgt_->DeleteLun(1, 1));
  EXPECT_THAT(DetachRemark(wanted.unit), HasSubstr("not flushed, because it is gone"));
}

TEST_F(KernelLuns, ALunThatTheArrayHasRemovedBelowAMapIsDetached) {
  NewLun(1, "aaaa000000000001");
  const auto wanted = ByTwoPaths(Wanted(1, IdentityOf(1, "1")));
  const auto paths = AskInitiator(wanted);
  ASSERT_TRUE(paths) << paths.error().message;
  ASSERT_THAT(Maps(), SizeIs(1));
  Write(Maps().at(0));
  Must(tgt_->DeleteLun(1, 1));
  EXPECT_THAT(DetachRemark(wanted.unit), HasSubstr("not flushed, because it is gone"));
}

TEST_F(KernelLuns, AnotherDiskUnderItsNumberIsDetached) {
  NewLun(1, "aaaa000000000001");
  const auto wanted = Wanted(1, IdentityOf(1, "1"));
  ASSERT_TRUE(AskInitiator(wanted));
  Must(tgt_->DeleteLun(1, 1));
  NewLun(1, "bbbb000000000001");
  EXPECT_THAT(DetachRemark(wanted.unit), HasSubstr("another disk"));
}

// How long I/O waits for a lost session is the volume's, whatever a request about it comes to.
TEST_F(KernelLuns, ARequestThatFailsLeavesTheTimeThatIoMayWait) {
  NewLun(1, "aaaa000000000001");
  auto wanted = Wanted(1, IdentityOf(1, "1"));
  wanted.io_timeout_s = 77;
  const auto paths = AskInitiator(wanted);
  ASSERT_TRUE(paths) << paths.error().message;
  EXPECT_THAT(RecoveryTimes(), ElementsAre("77"));
  auto larger = wanted;
  larger.size_bytes = kBytes + 4096;
  EXPECT_FALSE(AskInitiator(larger));
  EXPECT_THAT(RecoveryTimes(), ElementsAre("77"));
  EXPECT_THAT(Disks(), ElementsAre(paths->names.at(0))) << "the right disk is left where it is";
  {
    base::UniqueFd held(
        open(("/dev/" + paths->names.at(0)).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    ASSERT_TRUE(held);
    EXPECT_FALSE(AskInitiator(initiator::Detach{wanted.unit}));
    EXPECT_THAT(RecoveryTimes(), ElementsAre("77"));
  }
  for (const char* after : {"0.1", "0.3", "0.6"}) {
    KillAttach(wanted, after);
    EXPECT_THAT(RecoveryTimes(), ElementsAre("77")) << "killed after " << after << " s";
  }
  // What an older one has left is put right.
  std::ofstream("/sys/class/iscsi_session/" + Sessions().at(0) + "/recovery_tmo") << "5";
  ASSERT_TRUE(AskInitiator(wanted));
  EXPECT_THAT(RecoveryTimes(), ElementsAre("77"));
  wanted.io_timeout_s = 0;
  ASSERT_TRUE(AskInitiator(wanted));
  EXPECT_THAT(RecoveryTimes(), ElementsAre("off"));
  EXPECT_EQ(DetachRemark(wanted.unit), "");
}

// Nobody has to clean up after a program that was killed anywhere on its way.
TEST_F(KernelLuns, AKilledAttachLeavesNoRecordAndIsFinishedByTheNext) {
  NewLun(1, "aaaa000000000001");
  auto wanted = Wanted(1, IdentityOf(1, "1"));
  wanted.chap = iscsi::target::Chap{"user", "canary-geheim-1", "", ""};
  for (const char* after : {"0.3", "0.8", "1.3", "2"}) {
    KillAttach(wanted, after);
    EXPECT_THAT(RecordsOnDisk(), IsEmpty());
  }
  const auto paths = AskInitiator(wanted);
  ASSERT_TRUE(paths) << paths.error().message;
  EXPECT_THAT(Sessions(), SizeIs(1));
  ASSERT_TRUE(AskInitiator(initiator::Detach{wanted.unit}));
  EXPECT_THAT(Sessions(), IsEmpty());
}

}  // namespace
}  // namespace gantry::tests
