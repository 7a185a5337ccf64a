// KVM's requests on structures that end in an array without a length. The kernel's headers give
// those structures another size in C++ than in C, and with it the requests another number.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstddef>

namespace postcopy {

// Bytes before the array.
inline constexpr size_t kMsrListHeadBytes = 4;  // a count
inline constexpr size_t kMsrsHeadBytes = 8;     // a count and padding
inline constexpr size_t kCpuidHeadBytes = 8;    // a count and padding
inline constexpr size_t kXsaveHeadBytes = 4096;

inline constexpr unsigned long kGetMsrIndexList =
    _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x02, kMsrListHeadBytes);
inline constexpr unsigned long kGetSupportedCpuid =
    _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, kCpuidHeadBytes);
inline constexpr unsigned long kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, kMsrsHeadBytes);
inline constexpr unsigned long kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, kMsrsHeadBytes);
inline constexpr unsigned long kSetCpuid = _IOC(_IOC_WRITE, KVMIO, 0x90, kCpuidHeadBytes);
inline constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, kXsaveHeadBytes);
inline constexpr unsigned long kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, kXsaveHeadBytes);
inline constexpr unsigned long kGetXsave2 = _IOC(_IOC_READ, KVMIO, 0xcf, kXsaveHeadBytes);

}  // namespace postcopy
