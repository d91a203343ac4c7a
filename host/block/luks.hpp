// SPDX-License-Identifier: Apache-2.0
// LUKS2 by cryptsetup. The key comes by a pipe, never in an argument or a file. The volume key stays
// in the kernel's device-mapper table rather than in a keyring (--disable-keyring): a device that
// grows must not ask for the passphrase, which nobody has kept. Discards are not passed through: they
// would show which blocks are in use.
#pragma once

#include <string>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"

namespace gantry::block {

// Of Argon2; cryptsetup would take up to a GiB, more than a helper may have.
constexpr int kLuksMemoryKiB = 64 * 1024;

// `name` of the mapping: letters, digits, '-' and '_'. `key`: a pipe with the passphrase in it and
// its writing end closed; each call reads it whole. UNAUTHENTICATED: it is not the passphrase.
base::Status FormatLuks(int device, const std::string& uuid, int key, base::TimePoint deadline);
base::Status OpenLuks(int device, const std::string& name, bool readonly, int key,
                      base::TimePoint deadline);
// The mapping is as large as its device allows.
base::Status GrowLuks(const std::string& name, base::TimePoint deadline);
// Not open: OK. FAILED_PRECONDITION: in use.
base::Status CloseLuks(const std::string& name, base::TimePoint deadline);

// "dm-0" of the mapping, or empty when there is none (sysfs).
std::string MappingOf(const std::string& name);

}  // namespace gantry::block
