// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/disk_check.hpp"

#include <gtest/gtest.h>

namespace gantry::iscsi::initiator {
namespace {

using scsi::Failure;
using scsi::FromSense;

// Which of a disk's words end the wait for it, and which may be other ones in a moment.
TEST(SaysGone, WhatTheTargetHasNoLonger) {
  EXPECT_TRUE(SaysGone(FromSense({scsi::kIllegalRequest, 0x2500}, "TEST UNIT READY")));
  EXPECT_TRUE(SaysGone(FromSense({scsi::kNotReady, 0x3a00}, "TEST UNIT READY")));
  EXPECT_TRUE(SaysGone(FromSense({scsi::kNotReady, 0x0403}, "TEST UNIT READY")));
  EXPECT_TRUE(SaysGone(FromSense({scsi::kNotReady, 0x0412}, "TEST UNIT READY")));
}

TEST(SaysGone, NotWhatPassesByItself) {
  EXPECT_FALSE(SaysGone(FromSense({scsi::kNotReady, 0x0401}, "TEST UNIT READY")));
  EXPECT_FALSE(SaysGone(FromSense({scsi::kNotReady, 0x040a}, "TEST UNIT READY")));
  EXPECT_FALSE(SaysGone(FromSense({scsi::kIllegalRequest, 0x2400}, "TEST UNIT READY")));
  EXPECT_FALSE(SaysGone(FromSense({scsi::kUnitAttention, 0x3f0e}, "TEST UNIT READY")));
  EXPECT_FALSE(SaysGone(FromSense({scsi::kMediumError, 0x1100}, "TEST UNIT READY")));
  EXPECT_FALSE(SaysGone({Failure::kLost, {}, 0, "host status 1"}));
  EXPECT_FALSE(SaysGone(scsi::FromStatus(scsi::kStatusBusy, "TEST UNIT READY")));
}

}  // namespace
}  // namespace gantry::iscsi::initiator
