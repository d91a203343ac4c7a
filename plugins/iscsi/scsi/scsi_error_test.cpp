// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/scsi_error.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "plugins/iscsi/scsi/login.hpp"

namespace gantry::iscsi::scsi {
namespace {

namespace code = plugin::code;

TEST(ScsiError, ALoginStatusIsFoundInLibiscsisSentence) {
  const auto error =
      FromLoginText("Failed to log in to target. Status: Authentication failure(513)");
  EXPECT_EQ(error.failure, Failure::kLogin);
  EXPECT_EQ(error.status, 0x0201u);
}

TEST(ScsiError, LoginStatusesBecomeCodes) {
  const std::pair<int, int32_t> cases[] = {
      {0x0201, code::kUnauthenticated},   {0x0202, code::kPermissionDenied},
      {0x0203, code::kNotFound},          {0x0204, code::kNotFound},
      {0x0206, code::kResourceExhausted}, {0x0209, code::kFailedPrecondition},
      {0x0300, code::kUnavailable},       {0x0301, code::kUnavailable},
  };
  for (const auto& [status, expected] : cases) {
    const auto error = FromLoginText("Status: x(" + std::to_string(status) + ")");
    EXPECT_EQ(ToCode(error), expected) << error.message;
  }
}

TEST(ScsiError, ATargetThatDoesNotProveItselfIsAnImpostor) {
  const auto error =
      FromLoginText("Failed to log in to target. It did not return CHAP_N during SECNEG.");
  EXPECT_EQ(error.failure, Failure::kImpostor);
  EXPECT_EQ(ToCode(error), code::kUnauthenticated);
  EXPECT_EQ(ToErrno(error), EKEYREJECTED);
}

TEST(ScsiError, OtherSentencesMeanThatTheTargetIsAway) {
  const auto error = FromLoginText("iscsi_service: socket error Connection refused(111).\n");
  EXPECT_EQ(error.failure, Failure::kUnreachable);
  EXPECT_EQ(ToCode(error), code::kUnavailable);
}

TEST(ScsiError, SenseIsNamedAndBecomesACodeAndAnErrno) {
  struct Case {
    Sense sense;
    int32_t code;
    int error_number;
    const char* text;
  };
  const Case cases[] = {
      {{5, 0x2000}, code::kUnimplemented, EOPNOTSUPP, "INVALID COMMAND OPERATION CODE"},
      {{5, 0x2100}, code::kOutOfRange, EIO, "LOGICAL BLOCK ADDRESS OUT OF RANGE"},
      {{5, 0x2500}, code::kNotFound, EIO, "LOGICAL UNIT NOT SUPPORTED"},
      {{7, 0x2700}, code::kFailedPrecondition, EROFS, "DATA PROTECT, WRITE PROTECTED"},
      {{7, 0x2707}, code::kResourceExhausted, ENOSPC, "SPACE ALLOCATION FAILED"},
      {{3, 0x1100}, code::kDataLoss, EIO, "MEDIUM ERROR"},
      {{2, 0x0401}, code::kUnavailable, EIO, "BECOMING READY"},
      {{4, 0x4400}, code::kUnavailable, EIO, "HARDWARE ERROR"},
  };
  for (const Case& c : cases) {
    const auto error = FromSense(c.sense, "READ (16)");
    EXPECT_EQ(ToCode(error), c.code) << error.message;
    EXPECT_EQ(ToErrno(error), c.error_number) << error.message;
    EXPECT_NE(error.message.find(c.text), std::string::npos) << error.message;
    EXPECT_TRUE(error.message.starts_with("READ (16): ")) << error.message;
  }
}

TEST(ScsiError, KnowsWhatPasses) {
  EXPECT_TRUE(FromStatus(kStatusBusy, "x").IsBusy());
  EXPECT_TRUE(FromStatus(kStatusTaskSetFull, "x").IsBusy());
  EXPECT_TRUE(FromSense({2, 0x0401}, "x").IsBusy());
  EXPECT_FALSE(FromStatus(kStatusReservationConflict, "x").IsBusy());
  EXPECT_FALSE(FromSense({2, 0x3a00}, "x").IsBusy());
  EXPECT_TRUE(FromSense({0xb, 0x4400}, "x").IsBusy());
  EXPECT_TRUE(FromSense({0xb, 0x4400}, "x").IsAborted());
  EXPECT_FALSE(FromSense({2, 0x0401}, "x").IsAborted());
  EXPECT_TRUE(FromSense({6, 0x2900}, "x").IsUnitAttention());
  EXPECT_TRUE(FromStatus(kStatusReservationConflict, "x").IsReservationConflict());
  EXPECT_TRUE(FromSense({5, 0x2000}, "x").IsUnsupported());
  EXPECT_FALSE(FromSense({5, 0x2500}, "x").IsUnsupported());
}

TEST(ScsiError, AnUnknownSenseIsShownAsNumbers) {
  EXPECT_EQ(FromSense({9, 0x8001}, "x").message, "x: VENDOR SPECIFIC (9/8001)");
}

LoginOptions Good() {
  LoginOptions options;
  options.initiator = "iqn.2026-01.test.gantry:i";
  options.target = "iqn.2026-01.test.gantry:t";
  return options;
}

TEST(Login, RefusesNamesThatAreNone) {
  ASSERT_TRUE(Check(Good()));
  auto options = Good();
  options.target = "target";
  const auto checked = Check(options);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("target name: \"target\""), std::string::npos);
  options.target = "iqn." + std::string(300, 'x');
  EXPECT_FALSE(Check(options));
  options = Good();
  options.initiator = "iqn.with space";
  EXPECT_FALSE(Check(options));
}

TEST(Login, RefusesMutualChapWithoutAnOwnOrWithTheSameSecretAndShowsNone) {
  auto options = Good();
  options.mutual = Chap("target", "secret-of-both");
  EXPECT_FALSE(Check(options));
  options.chap = Chap("me", "secret-of-both");
  const auto same = Check(options);
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().message.find("secret-of-both"), std::string::npos);
  options.chap = Chap("me", "another-secret");
  EXPECT_TRUE(Check(options));
  options.chap = Chap("me", "");
  EXPECT_FALSE(Check(options));
}

TEST(Login, RefusesDataDigests) {
  auto options = Good();
  options.data_digest = true;
  EXPECT_FALSE(Check(options));
}

}  // namespace
}  // namespace gantry::iscsi::scsi
