/* The one function in bcryptprimitives.dll that Rust's standard library needs, for versions of Wine without it. */

#include <windows.h>

/* RtlGenRandom, as exported by advapi32.dll. */
BOOLEAN NTAPI SystemFunction036(void *buffer, ULONG size);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T size)
{
    return SystemFunction036(buffer, (ULONG)size);
}
