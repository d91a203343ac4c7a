// SPDX-License-Identifier: Apache-2.0
#include "host/swap/journal.hpp"

#include <gtest/gtest.h>

namespace gantry::swap {
namespace {

JournalEntry Entry() {
  JournalEntry entry;
  entry.active.plugin = "nfs";
  entry.active.config_json = "{}";
  entry.swap.steps = {{"preflight", core::WallTime(std::chrono::milliseconds(1500)), "loads"}};
  return entry;
}

TEST(Journal, ComesBackAsItWasWritten) {
  const auto back = DecodeJournal(EncodeJournal(Entry()), "fast.json");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(EncodeJournal(*back), EncodeJournal(Entry()));
  EXPECT_EQ(back->swap.steps.at(0).when, Entry().swap.steps.at(0).when);
}

TEST(Journal, ATimeThatNoClockShowsIsTheLastThatOneDoes) {
  std::string text = EncodeJournal(Entry());
  const size_t at = text.find("1500");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 4, "9223372036854775807");
  const auto back = DecodeJournal(text, "fast.json");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_GT(back->swap.steps.at(0).when, core::WallTime());
}

}  // namespace
}  // namespace gantry::swap
