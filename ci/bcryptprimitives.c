/* The one function of bcryptprimitives.dll that Rust's standard library needs, for a Wine that does not have it. */

#include <windows.h>

/* RtlGenRandom, under the name by which advapi32.dll exports it. */
BOOLEAN NTAPI SystemFunction036(void *buffer, ULONG size);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T size)
{
    return SystemFunction036(buffer, (ULONG)size);
}
