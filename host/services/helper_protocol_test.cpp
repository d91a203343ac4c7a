// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper_protocol.hpp"

#include <gtest/gtest.h>

namespace gantry::services {
namespace {

TEST(HelperProtocol, ARequestComesBackWhole) {
  HelperRequest request;
  request.operation = HelperOperation::kMountFilesystem;
  request.path = "a\xff";
  request.options = {"ro", "addr=10.0.0.1"};
  request.group = 1000;
  request.writeback = true;
  request.clears_set_id = true;
  request.no_locks = true;
  const auto back = DecodeRequest(Encode(request));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->path, request.path);
  EXPECT_EQ(back->options, request.options);
  EXPECT_EQ(back->group, request.group);
  EXPECT_TRUE(back->writeback);
  EXPECT_TRUE(back->clears_set_id);
  EXPECT_TRUE(back->no_locks);
}

TEST(HelperProtocol, ReadsNothingThatIsNestedDeeply) {
  const std::string lists(kHelperMessageBytesMax, '\x81');  // each a list of one
  EXPECT_EQ(DecodeReply(lists).error().code, base::Code::kInternal);
  EXPECT_EQ(DecodeRequest(lists).error().code, base::Code::kInternal);
}

}  // namespace
}  // namespace gantry::services
