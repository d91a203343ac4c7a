// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/slots.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "host/base/fd.hpp"

namespace gantry::datapath {
namespace {

base::UniqueFd Memory() { return base::UniqueFd(memfd_create("slots", MFD_CLOEXEC)); }

// As if read() had put a request of `bytes` there.
void Fill(const Slot& slot, uint64_t unique, uint32_t bytes) {
  slot.header()->len = bytes;
  slot.header()->opcode = FUSE_MKDIR;
  slot.header()->unique = unique;
  for (uint32_t i = sizeof(fuse_in_header); i < bytes; ++i)
    slot.space()[i] = static_cast<char>(unique + i);
}

class SlotsTest : public ::testing::Test {
 protected:
  SlotsTest() : memory_(Memory()), table_(SlotTable::Attach(memory_.get()).value()) {}
  Slot Receive(uint64_t unique, uint32_t bytes = 100) {
    const Slot slot = table_.BeginReceive().value();
    Fill(slot, unique, bytes);
    table_.Received(slot);
    return slot;
  }
  base::UniqueFd memory_;
  SlotTable table_;
};

TEST_F(SlotsTest, AreFreshOnce) {
  EXPECT_TRUE(table_.fresh());
  EXPECT_NE(table_.nonce(), 0U);
  const SlotTable again = SlotTable::Attach(memory_.get()).value();
  EXPECT_FALSE(again.fresh());
  EXPECT_EQ(again.nonce(), table_.nonce());
}

TEST_F(SlotsTest, RefuseAnotherVersion) {
  const uint32_t other = kSlotsVersion + 1;
  ASSERT_EQ(pwrite(memory_.get(), &other, sizeof other, offsetof(SlotsHeader, version)),
            ssize_t{sizeof other});
  const auto refused = SlotTable::Attach(memory_.get());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, base::Code::kFailedPrecondition);
}

// Its kernel was not offered READDIRPLUS, so an older release may follow again.
TEST_F(SlotsTest, AreTakenOverFromAServerOfVersionOneAndStayWhatTheyAre) {
  const uint32_t first = 1;
  ASSERT_EQ(pwrite(memory_.get(), &first, sizeof first, offsetof(SlotsHeader, version)),
            ssize_t{sizeof first});
  EXPECT_TRUE(SlotTable::Attach(memory_.get()));
  uint32_t now = 0;
  ASSERT_EQ(pread(memory_.get(), &now, sizeof now, offsetof(SlotsHeader, version)),
            ssize_t{sizeof now});
  EXPECT_EQ(now, first);
}

TEST_F(SlotsTest, RefuseASecondServerWhileTheFirstLives) {
  const pid_t child = fork();
  if (child == 0) {
    const auto refused = SlotTable::Attach(memory_.get());
    _exit(!refused && refused.error().code == base::Code::kAborted ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(SlotsTest, PutWriteDataAtThePagesBeginning) {
  const Slot slot = table_.BeginReceive().value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slot.space().data() + kWriteHeaderBytes) % kPageBytes, 0U);
  EXPECT_GE(slot.space().size(), kWriteHeaderBytes + kIoBytesMax);
}

TEST_F(SlotsTest, BeginAReceiveWithAnEmptyHeader) {
  const Slot first = Receive(1);
  first.control().interrupted = 1;
  first.control().progress = 3;
  first.control().batch.state = BatchState::kApplied;
  table_.Free(first);
  const Slot again = table_.BeginReceive().value();
  ASSERT_EQ(again.index(), first.index());
  EXPECT_EQ(again.state(), SlotState::kReceiving);
  EXPECT_EQ(again.header()->len, 0U);
  EXPECT_EQ(again.header()->unique, 0U);
  EXPECT_EQ(again.control().interrupted, 0U);
  EXPECT_EQ(again.control().progress, 0U);
  EXPECT_EQ(again.control().redo.state, RedoState::kNone);
  EXPECT_EQ(again.control().batch.state, BatchState::kNone);
}

TEST_F(SlotsTest, MoveASmallRequestWhole) {
  const Slot receive = Receive(77, 300);
  const auto compact = table_.MoveToCompact(receive);
  ASSERT_TRUE(compact);
  EXPECT_GE(compact->index(), kReceiveSlotsMax);
  EXPECT_EQ(compact->state(), SlotState::kReceived);
  EXPECT_EQ(receive.state(), SlotState::kFree);
  EXPECT_EQ(compact->header()->unique, 77U);
  EXPECT_EQ(std::memcmp(compact->space().data(), receive.space().data(), 300), 0);
}

TEST_F(SlotsTest, LeaveALargeRequestWhereItIs) {
  const Slot receive = Receive(1, kCompactBytesMax + 1);
  EXPECT_FALSE(table_.MoveToCompact(receive));
  EXPECT_EQ(receive.state(), SlotState::kReceived);
}

TEST_F(SlotsTest, HoldAsManyRequestsAsPromisedAndNoMore) {
  for (uint32_t i = 0; i < kCompactSlots; ++i) ASSERT_TRUE(table_.MoveToCompact(Receive(i + 1)));
  for (uint32_t i = 0; i < kReceiveSlotsMax; ++i)
    ASSERT_FALSE(table_.MoveToCompact(Receive(1000 + i)));
  EXPECT_FALSE(table_.CanReceive());
  EXPECT_FALSE(table_.BeginReceive());
  EXPECT_EQ(table_.InUse(), kSlotsMax);
  table_.Free(table_.At(3));
  EXPECT_TRUE(table_.CanReceive());
  EXPECT_EQ(table_.BeginReceive()->index(), 3U);
}

TEST_F(SlotsTest, KeepStateAndReplyForASuccessor) {
  const Slot received = table_.MoveToCompact(Receive(1)).value();
  const Slot executing = table_.MoveToCompact(Receive(2)).value();
  executing.BeginExecution();
  const Slot executed = table_.MoveToCompact(Receive(3)).value();
  executed.BeginExecution();
  executed.SaveReply(-EEXIST, "answer");
  const Slot large = Receive(4, kCompactBytesMax + 1);

  const SlotTable next = SlotTable::Attach(memory_.get()).value();
  EXPECT_EQ(next.InUse(), 4U);
  EXPECT_EQ(next.At(received.index()).state(), SlotState::kReceived);
  EXPECT_EQ(next.At(executing.index()).state(), SlotState::kExecuting);
  const Slot saved = next.At(executed.index());
  EXPECT_EQ(saved.state(), SlotState::kExecuted);
  EXPECT_EQ(saved.control().error, -EEXIST);
  EXPECT_EQ(std::string_view(saved.control().reply.data(), saved.control().reply_bytes), "answer");
  EXPECT_EQ(next.At(large.index()).header()->unique, 4U);
}

TEST_F(SlotsTest, NeverExecuteTwice) {
  const Slot slot = Receive(1);
  slot.BeginExecution();
  EXPECT_DEATH(slot.BeginExecution(), "state");
  slot.SaveReply(0, "");
  EXPECT_DEATH(slot.BeginExecution(), "state");
  EXPECT_DEATH(slot.SaveReply(0, ""), "state");
}

}  // namespace
}  // namespace gantry::datapath
