// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/command.hpp"

#include "plugins/iscsi/scsi/bytes.hpp"

namespace gantry::iscsi::scsi {
namespace {

constexpr uint8_t kVpd = 0x01;
constexpr uint8_t kNoBlockDescriptors = 0x08;
constexpr uint8_t kForceUnitAccess = 0x08;
constexpr uint8_t kUnmapBit = 0x08;
constexpr size_t kReserveOutBytes = 24;

Command Make(const char* name, uint8_t operation, uint8_t cdb_bytes) {
  Command command;
  command.name = name;
  command.cdb[0] = operation;
  command.cdb_bytes = cdb_bytes;
  return command;
}

template <class Number>
void Set(Command& command, size_t at, Number number) {
  Put(std::span(command.cdb), at, number);
}

template <class Number>
void SetParameter(Command& command, size_t at, Number number) {
  Put(std::span(command.parameters), at, number);
}

}  // namespace

Command TestUnitReady() { return Make("TEST UNIT READY", 0x00, 6); }

Command Inquiry() {
  Command command = Make("INQUIRY", 0x12, 6);
  Set<uint16_t>(command, 3, kInquiryBytes);
  command.in_bytes = kInquiryBytes;
  return command;
}

Command InquiryPage(uint8_t page) {
  Command command = Inquiry();
  command.name = "INQUIRY (vital product data)";
  command.cdb[1] = kVpd;
  command.cdb[2] = page;
  return command;
}

Command ReportLuns() {
  Command command = Make("REPORT LUNS", 0xa0, 12);
  Set<uint32_t>(command, 6, kReportLunsBytes);
  command.in_bytes = kReportLunsBytes;
  return command;
}

Command ReadCapacity16() {
  Command command = Make("READ CAPACITY (16)", 0x9e, 16);
  command.cdb[1] = 0x10;
  Set<uint32_t>(command, 10, 32);
  command.in_bytes = 32;
  return command;
}

Command GetLbaStatus(uint64_t lba, uint32_t bytes_max) {
  Command command = Make("GET LBA STATUS", 0x9e, 16);
  command.cdb[1] = 0x12;
  Set<uint64_t>(command, 2, lba);
  Set<uint32_t>(command, 10, bytes_max);
  command.in_bytes = bytes_max;
  return command;
}

Command ModeSense6(uint8_t page) {
  Command command = Make("MODE SENSE (6)", 0x1a, 6);
  command.cdb[1] = kNoBlockDescriptors;
  command.cdb[2] = page;
  command.cdb[4] = 0xff;
  command.in_bytes = 0xff;
  return command;
}

Command Read16(uint64_t lba, uint32_t block_bytes, std::span<std::byte> buffer) {
  Command command = Make("READ (16)", 0x88, 16);
  Set<uint64_t>(command, 2, lba);
  Set<uint32_t>(command, 10, static_cast<uint32_t>(buffer.size() / block_bytes));
  command.in_bytes = static_cast<uint32_t>(buffer.size());
  command.in = buffer;
  return command;
}

Command Write16(uint64_t lba, uint32_t block_bytes, std::span<const std::byte> data,
                bool force_unit_access) {
  Command command = Make("WRITE (16)", 0x8a, 16);
  if (force_unit_access) command.cdb[1] = kForceUnitAccess;
  Set<uint64_t>(command, 2, lba);
  Set<uint32_t>(command, 10, static_cast<uint32_t>(data.size() / block_bytes));
  command.out = data;
  return command;
}

Command SynchronizeCache16() { return Make("SYNCHRONIZE CACHE (16)", 0x91, 16); }

Command SynchronizeCache10() { return Make("SYNCHRONIZE CACHE (10)", 0x35, 10); }

Command WriteSame16(Extent extent, std::span<const std::byte> block, bool unmap) {
  Command command = Make("WRITE SAME (16)", 0x93, 16);
  if (unmap) command.cdb[1] = kUnmapBit;
  Set<uint64_t>(command, 2, extent.lba);
  Set<uint32_t>(command, 10, static_cast<uint32_t>(extent.blocks));
  command.out = block;
  return command;
}

Command PersistentReserveIn(ReserveIn action) {
  Command command = Make("PERSISTENT RESERVE IN", 0x5e, 10);
  command.cdb[1] = static_cast<uint8_t>(action);
  Set<uint16_t>(command, 7, kReadKeysBytes);
  command.in_bytes = kReadKeysBytes;
  return command;
}

Command PersistentReserveOut(ReserveOut action, ReservationType type, uint64_t key,
                             uint64_t service_key) {
  Command command = Make("PERSISTENT RESERVE OUT", 0x5f, 10);
  command.cdb[1] = static_cast<uint8_t>(action);
  command.cdb[2] = static_cast<uint8_t>(type);
  Set<uint32_t>(command, 5, kReserveOutBytes);
  command.parameters.resize(kReserveOutBytes);
  SetParameter<uint64_t>(command, 0, key);
  SetParameter<uint64_t>(command, 8, service_key);
  return command;
}

}  // namespace gantry::iscsi::scsi
