// SPDX-License-Identifier: Apache-2.0
#include "host/wire/job_reply.hpp"

#include <gtest/gtest.h>

namespace gantry::wire {
namespace {

std::string Reply(int32_t code, uint64_t length, const std::string& output) {
  const JobReply header{kJobReplyMagic, code, length};
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + output;
}

TEST(JobReply, GivesTheOutput) { EXPECT_EQ(ParseJobReply(Reply(0, 3, "out")), "out"); }

TEST(JobReply, GivesTheCodeThatAJobFinishedWith) {
  EXPECT_EQ(ParseJobReply(Reply(9, 0, "")).error().code, base::Code::kFailedPrecondition);
  EXPECT_EQ(ParseJobReply(Reply(99, 0, "")).error().code, base::Code::kUnavailable);
}

TEST(JobReply, ThatIsNotWholeIsNone) {
  EXPECT_EQ(ParseJobReply("").error().code, base::Code::kUnavailable);
  EXPECT_EQ(ParseJobReply(Reply(0, 4, "out")).error().code, base::Code::kUnavailable);
  EXPECT_EQ(ParseJobReply(Reply(0, 2, "out")).error().code, base::Code::kUnavailable);
}

}  // namespace
}  // namespace gantry::wire
