// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/sanitizer_report.hpp"

#include <gtest/gtest.h>

namespace gantry::lab {
namespace {

constexpr std::string_view kSegfault =
    "before\n==7==ERROR: AddressSanitizer: SEGV on unknown address 0x0\n#0 in Create\n";

TEST(SanitizerReport, IsTheLogFromTheFirstReportOn) {
  EXPECT_EQ(SanitizerReport("a\nworker: ==7==ERROR: AddressSanitizer: heap-use-after-free\nb\n"),
            "worker: ==7==ERROR: AddressSanitizer: heap-use-after-free\nb\n");
  EXPECT_EQ(SanitizerReport("x.cpp:1:2: runtime error: signed integer overflow"),
            "x.cpp:1:2: runtime error: signed integer overflow");
  EXPECT_EQ(SanitizerReport("a\nWARNING: ThreadSanitizer: data race (pid=7)"),
            "WARNING: ThreadSanitizer: data race (pid=7)");
  EXPECT_EQ(SanitizerReport("ERROR: LeakSanitizer: detected memory leaks"),
            "ERROR: LeakSanitizer: detected memory leaks");
}

TEST(SanitizerReport, IsEmptyForALogWithoutOne) {
  EXPECT_EQ(SanitizerReport(""), "");
  EXPECT_EQ(SanitizerReport("a\n\nwhat(): a runtime error\nb"), "");
}

TEST(SanitizerReport, LeavesOutSegfaultsWhereTheyAreMeantAndNothingElse) {
  EXPECT_NE(SanitizerReport(kSegfault), "");
  EXPECT_EQ(SanitizerReport(kSegfault, Segfaults::kIgnore), "");
  EXPECT_EQ(SanitizerReport("ERROR: ThreadSanitizer: SEGV on unknown address", Segfaults::kIgnore),
            "");
  EXPECT_NE(SanitizerReport(std::string(kSegfault) + "ERROR: AddressSanitizer: double-free",
                            Segfaults::kIgnore),
            "");
}

}  // namespace
}  // namespace gantry::lab
