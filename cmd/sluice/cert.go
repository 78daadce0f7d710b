package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// pemMax bounds a PEM file in bytes: the server takes certificates of a quarter of it.
const pemMax = 1 << 20

func (a *app) certCommand() *cobra.Command {
	upload := groupCommand("upload", "Upload certificates",
		`  sluice cert upload certificate-authority --ca-cert origin-ca.pem --name origin-ca
  sluice cert upload mtls-certificate --cert client.pem --key client-key.pem --name client`,
		a.certUploadCACommand(), a.certUploadClientCommand())
	return a.clientCommand(groupCommand("cert", "Keep the certificates that origins are verified against, and those that the proxy shows to them",
		`  sluice cert upload certificate-authority --ca-cert origin-ca.pem --name origin-ca
  sluice cert list`,
		upload, a.certListCommand(), a.certGetCommand(), a.certDeleteCommand()))
}

func (a *app) certUploadCACommand() *cobra.Command {
	var file, name string
	cmd := &cobra.Command{
		Use:     "certificate-authority",
		Short:   "Upload the certificates of a CA, for --ca-certificate-id of databases",
		Example: "  sluice cert upload certificate-authority --ca-cert origin-ca.pem --name origin-ca",
		Args:    exactArgs(),
	}
	cmd.Flags().StringVar(&file, "ca-cert", "", "PEM file with the CA's certificates")
	cmd.Flags().StringVar(&name, "name", "", "name to find it by")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
		certificates, err := readPEM("ca-cert", file)
		if err != nil {
			return err
		}
		return a.uploadCertificate(ctx, c, v4.CertificateCreate{Name: name, CA: true, Certificates: certificates})
	})
	return cmd
}

func (a *app) certUploadClientCommand() *cobra.Command {
	var cert, key, name string
	cmd := &cobra.Command{
		Use:     "mtls-certificate",
		Short:   "Upload a client certificate with its key, for --mtls-certificate-id of databases",
		Example: "  sluice cert upload mtls-certificate --cert client.pem --key client-key.pem --name client",
		Args:    exactArgs(),
	}
	cmd.Flags().StringVar(&cert, "cert", "", "PEM file with the client's certificate, and after it those between it and the CA")
	cmd.Flags().StringVar(&key, "key", "", "PEM file with its private key, not encrypted")
	cmd.Flags().StringVar(&name, "name", "", "name to find it by")
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
		certificates, certErr := readPEM("cert", cert)
		privateKey, keyErr := readPEM("key", key)
		if err := errors.Join(certErr, keyErr); err != nil {
			return err
		}
		return a.uploadCertificate(ctx, c, v4.CertificateCreate{Name: name, Certificates: certificates, PrivateKey: privateKey})
	})
	return cmd
}

// readPEM reads the file that a flag names.
func readPEM(flag, name string) (string, error) {
	if name == "" {
		return "", usagef("--%s is missing: a PEM file", flag)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, pemMax+1))
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	if len(data) > pemMax {
		return "", fmt.Errorf("--%s: more than %d bytes", flag, pemMax)
	}
	return string(data), nil
}

func (a *app) uploadCertificate(ctx context.Context, c *apiclient.Client, body v4.CertificateCreate) error {
	certificate, err := c.CreateCertificate(ctx, body)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(certificate)
	}
	fmt.Fprintf(a.out, "Certificate uploaded, id %s, valid until %s.\n", certificate.ID, certificate.ExpiresOn.Format(time.DateOnly))
	return nil
}

// certificateKind is what a certificate is for.
func certificateKind(c v4.Certificate) string {
	if c.CA {
		return "CA"
	}
	return "client"
}

func (a *app) certListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List certificates",
		Example: "  sluice cert list\n  sluice cert list --json",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			certificates, err := c.Certificates(ctx, "")
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(certificates)
			}
			var rows [][]string
			for _, certificate := range certificates {
				rows = append(rows, []string{certificate.Name, certificate.ID, certificateKind(certificate), certificate.Issuer,
					when(certificate.UploadedOn), when(certificate.ExpiresOn)})
			}
			return a.printTable([]string{"NAME", "ID", "KIND", "ISSUER", "UPLOADED", "EXPIRES"}, rows)
		}),
	}
}

func (a *app) certGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME|ID",
		Short:   "Show a certificate; private keys are never shown",
		Example: "  sluice cert get origin-ca\n  sluice cert get origin-ca --json",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			certificate, err := findCertificate(ctx, c, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(certificate)
			}
			return a.printFields([][2]string{
				{"name", certificate.Name}, {"id", certificate.ID}, {"kind", certificateKind(certificate)}, {"issuer", certificate.Issuer},
				{"serial number", certificate.SerialNumber}, {"signature", certificate.Signature},
				{"uploaded", when(certificate.UploadedOn)}, {"expires", when(certificate.ExpiresOn)},
			})
		}),
	}
}

func (a *app) certDeleteCommand() *cobra.Command {
	var id, name string
	cmd := &cobra.Command{
		Use:     "delete NAME|ID",
		Short:   "Delete a certificate that no database uses",
		Example: "  sluice cert delete origin-ca",
	}
	cmd.Flags().StringVar(&id, "id", "", "the id, instead of the argument")
	cmd.Flags().StringVar(&name, "name", "", "the name, instead of the argument")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch given := id + name; {
		case id != "" && name != "":
			return usagef("--id and --name exclude each other")
		case given != "" && len(args) > 0:
			return usagef("%s: unexpected argument %q beside --id or --name", cmd.CommandPath(), args[0])
		case given != "":
			return nil
		}
		return exactArgs("NAME")(cmd, args)
	}
	cmd.RunE = a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
		certificate, err := findCertificate(ctx, c, append(args, id+name)[0])
		if err != nil {
			return err
		}
		if err := c.DeleteCertificate(ctx, certificate.ID); err != nil {
			return err
		}
		return a.printDeleted("Certificate", certificate.Name, certificate.ID)
	})
	return cmd
}
