/* The limit that the benchmark compares with: the least that a program can do to read stored credentials and write their
 * access token. It trusts its input, as no real program may. */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char text[65536];

int main(int count, char **arguments)
{
    int file = open(arguments[count - 1], O_RDONLY);
    ssize_t size = read(file, text, sizeof text - 1);
    char *name = size > 0 ? strstr(text, "\"access_token\":") : NULL;
    char *token = name ? strchr(name + strlen("\"access_token\":"), '"') : NULL;
    char *end = token ? strchr(token + 1, '"') : NULL;
    if (!end)
        return 1;
    *end = '\n';
    return write(1, token + 1, end - token) != end - token;
}
